# Dumps of the database, consistent while FMD Server runs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.fmd-stack;
  sandbox = import ./lib/sandbox.nix;

  dump = pkgs.writeShellApplication {
    name = "fmd-stack-backup";
    runtimeInputs = [
      pkgs.coreutils
      pkgs.gzip
      pkgs.sqlite
    ];
    text = builtins.readFile ./backup.sh;
  };
in
{
  config = lib.mkIf (cfg.enable && cfg.backup.enable) {
    systemd = {
      services.fmd-stack-backup = {
        description = "Dump of FMD Server's database";
        documentation = [ "man:sqlite3(1)" ];
        inherit (cfg.backup) startAt;

        serviceConfig = sandbox.common // {
          Type = "oneshot";
          ExecStart = lib.escapeShellArgs [
            (lib.getExe dump)
            cfg.settings.DatabaseDir
            cfg.backup.location
            (toString cfg.backup.keep)
          ];
          User = cfg.user;
          Group = cfg.group;
          ReadWritePaths = [
            # SQLite shares its locks with FMD Server through files beside the database.
            cfg.settings.DatabaseDir
            cfg.backup.location
          ];
          PrivateNetwork = true;
          RestrictAddressFamilies = "none";
          IPAddressDeny = "any";
          IOSchedulingClass = "idle";
        };
      };

      # A machine that was off at the time makes its dump when it is on again.
      timers.fmd-stack-backup.timerConfig.Persistent = true;

      tmpfiles.settings."10-fmd-stack".${cfg.backup.location}.d = {
        mode = "0700";
        inherit (cfg) user group;
      };
    };
  };
}
