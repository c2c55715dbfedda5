# The Rust suite, which also is the small FMD Server that it carries.
{
  lib,
  rustPlatform,
}:
let
  # What somebody who runs the bundle from this checkout has put there: the store
  # is readable by everybody.
  operators = lib.fileset.unions (
    map lib.fileset.maybeMissing [
      ../containers/.env
      ../containers/tls
    ]
  );
in
rustPlatform.buildRustPackage {
  pname = "fmd-stack";
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;

  # What cargo reads, so that a change of other documentation builds nothing.
  # .ci/nix-check compares it with what the sources include.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.difference (lib.fileset.unions [
      ../Cargo.lock
      ../Cargo.toml
      ../clippy.toml
      ../containers
      ../docs/how-to/debian.md
      ../integration
    ]) operators;
  };

  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [ "--workspace" ];

  # The tests start namespaces and real daemons: checks.rust runs what can run
  # in Nix's sandbox, the VM tests run the scenarios.
  doCheck = false;

  meta = {
    description = "Starts FMD Server, nginx and fail2ban together and proves that bans hold";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "fmd-stack";
    platforms = lib.platforms.linux;
  };
}
