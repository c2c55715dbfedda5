# Every combination of options that would look protected and not be.
{ config, lib, ... }:
let
  cfg = config.services.fmd-stack;
  found = import ./lib/problems.nix { inherit config; };
in
{
  config = lib.mkIf cfg.enable {
    inherit (found) assertions warnings;
  };
}
