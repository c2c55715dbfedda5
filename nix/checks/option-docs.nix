# docs/reference/nixos-options.md is what the option declarations say.
{
  runCommand,
  writeText,
  diffutils,
}:
runCommand "fmd-stack-option-docs" { nativeBuildInputs = [ diffutils ]; } ''
  diff -u ${../../docs/reference/nixos-options.md} ${writeText "expected.md" (import ./default.nix).docs}
  touch $out
''
