# docs/reference/nixos-options.md is what the option declarations say.
{
  runCommand,
  writeText,
  diffutils,
}:
let
  written = ../../docs/reference/nixos-options.md;
  declared = writeText "nixos-options.md" (import ./default.nix).docs;
in
runCommand "fmd-stack-option-docs" { nativeBuildInputs = [ diffutils ]; } ''
  diff -u ${written} ${declared}
  touch $out
''
