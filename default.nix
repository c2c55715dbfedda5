# The project without flakes: packages, checks and `nixosModule`, from the
# nixpkgs that flake.lock pins or any other.
#
#   nix-build -A packages.fmd-stack
#   imports = [ (import /path/to/fmd-stack { }).nixosModule ];
{
  system ? builtins.currentSystem,
  nixpkgs ?
    let
      lock = builtins.fromJSON (builtins.readFile ./flake.lock);
      inherit (lock.nodes.${lock.nodes.root.inputs.nixpkgs}) locked;
    in
    fetchTarball {
      url = "https://github.com/${locked.owner}/${locked.repo}/archive/${locked.rev}.tar.gz";
      sha256 = locked.narHash;
    },
  pkgs ? import nixpkgs { inherit system; },
}:
import ./nix { inherit pkgs; }
