# Everything that the flake and default.nix offer, for one nixpkgs.
{ pkgs }:
let
  inherit (pkgs) lib;
  module = ../nixos-module;

  suite = pkgs.callPackage ./suite.nix { };
  images = pkgs.callPackage ./images.nix { };
  tools = import ./tools.nix { inherit pkgs; };

  demoMachine = import ./demo.nix { inherit pkgs module; };
  demoVm = demoMachine.config.system.build.vm;

  vmTests = import ./vm-tests.nix {
    inherit pkgs module suite;
  };

  program = package: {
    type = "app";
    program = lib.getExe package;
    meta.description = package.meta.description;
  };
in
rec {
  nixosModule = module;
  nixosModules.default = module;

  demo = demoMachine;

  packages = {
    default = suite;
    fmd-stack = suite;
    # Runs on any machine: the testbed ssh copies it to servers and clients, which
    # need not have this store.
    fmd-stack-static = pkgs.pkgsStatic.callPackage ./suite.nix { };
  }
  // lib.mapAttrs' (name: lib.nameValuePair "image-${name}") images;

  # What depends on nixpkgs' modules, and so is checked on every pin.
  moduleChecks = vmTests // {
    module = import ./checks/as-derivation.nix { inherit pkgs; };
  };

  checks = moduleChecks // {
    # Nix's sandbox has no namespaces to attack in: unit tests here, the scenarios
    # in the virtual machines.
    rust = suite.overrideAttrs {
      doCheck = true;
      cargoTestFlags = [
        "--workspace"
        "--lib"
      ];
    };
    formatting = pkgs.callPackage ./checks/formatting.nix { };
    option-docs = pkgs.callPackage ./checks/option-docs.nix { };
  };

  apps = rec {
    default = demo;
    demo = program (
      pkgs.writeShellApplication {
        name = "fmd-stack-demo";
        runtimeInputs = [ suite ] ++ tools.namespaces;
        text = ''exec fmd-stack demo "$@"'';
        meta.description = "Attack a protected FMD Server on this machine, in namespaces";
      }
    );
    demo-vm = program (
      pkgs.writeShellApplication {
        name = "fmd-stack-demo-vm";
        text = ''exec ${demoVm}/bin/run-${demoMachine.config.networking.hostName}-vm "$@"'';
        meta.description = "Boot a virtual machine with a protected FMD Server";
      }
    );
  };

  devShells.default = pkgs.mkShell {
    inputsFrom = [ suite ];
    packages = tools.namespaces ++ tools.development;
  };

  formatter = pkgs.nixfmt-tree;
}
