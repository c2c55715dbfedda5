{
  description = "FMD Server behind nginx and fail2ban: hardened, and proven to ban";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    nixpkgs-unstable.url = "github:NixOS/nixpkgs/nixos-unstable";
  };

  outputs =
    { nixpkgs, nixpkgs-unstable, ... }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      project = pin: system: import ./nix { pkgs = pin.legacyPackages.${system}; };
      perSystem = part: lib.genAttrs systems (system: part (project nixpkgs system));

      # What depends on nixpkgs' modules has to hold on both pins.
      onUnstable =
        system:
        lib.mapAttrs' (name: lib.nameValuePair "unstable-${name}") (
          (project nixpkgs-unstable system).moduleChecks
        );
    in
    {
      nixosModules.default = {
        imports = [ ./nixos-module ];
      };

      packages = perSystem (project: project.packages);
      apps = perSystem (project: project.apps);
      devShells = perSystem (project: project.devShells);
      formatter = perSystem (project: project.formatter);

      checks = lib.genAttrs systems (
        system: (project nixpkgs system).checks // onUnstable system
      );

      nixosConfigurations.demo = (project nixpkgs "x86_64-linux").demo;

      templates.default = {
        path = ./nix/template;
        description = "A machine with a protected FMD Server";
      };
    };
}
