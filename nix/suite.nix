# The Rust suite, which also is the small FMD Server that it carries.
{
  lib,
  rustPlatform,
}:
rustPlatform.buildRustPackage {
  pname = "fmd-stack";
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;

  # What cargo reads, so that a change of the documentation builds nothing.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.lock
      ../Cargo.toml
      ../clippy.toml
      ../containers
      ../integration
    ];
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
