# The checks of evaluated.nix and default.nix as one flake check.
{ pkgs }:
let
  cases =
    (import ./default.nix).cases
    ++ import ./evaluated.nix { nixpkgs = pkgs.path; };
  broken = map (one: one.name) (builtins.filter (one: !one.holds) cases);
in
if broken == [ ] then
  pkgs.runCommand "fmd-stack-module" { } "touch $out"
else
  throw "these do not hold:\n${builtins.concatStringsSep "\n" broken}"
