{
  description = "A machine with a protected FMD Server";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # Where you got fmd-stack from.
    fmd-stack.url = "git+file:///path/to/fmd-stack";
    fmd-stack.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, fmd-stack, ... }:
    {
      nixosConfigurations.fmd = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          fmd-stack.nixosModules.default
          # The machine's own, which nixos-generate-config made.
          ./configuration.nix
          ./fmd-stack.nix
        ];
      };
    };
}
