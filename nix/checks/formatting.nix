# Every file as its formatter writes it, and nothing unused in Nix files.
{
  lib,
  runCommand,
  cargo,
  deadnix,
  nixfmt,
  rustfmt,
  statix,
}:
let
  inherit (lib) fileset;

  formatted = fileset.fileFilter (
    file: file.hasExt "nix" || file.hasExt "rs" || file.hasExt "toml"
  ) ../..;

  source = fileset.toSource {
    root = ../..;
    # Generated sources, where a working tree is checked without flakes.
    fileset = fileset.difference formatted (fileset.maybeMissing ../../target);
  };
in
runCommand "fmd-stack-formatting"
  {
    nativeBuildInputs = [
      cargo
      deadnix
      nixfmt
      rustfmt
      statix
    ];
  }
  ''
    cd ${source}
    find . -name '*.nix' -exec nixfmt --check {} +
    statix check .
    deadnix --fail .
    cargo fmt --all --check
    touch $out
  ''
