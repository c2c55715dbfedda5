# fail2ban: the shared filters, actions and jails as they are, and what the
# options change about them in jail.local, which fail2ban reads last.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.fmd-stack;
  shared = import ./lib/shared.nix;

  files = shared.etcFiles "fail2ban";

  awaitBans = pkgs.writeText "await-bans" (
    builtins.readFile (shared.rootfs + "/usr/lib/fmd-stack/await-bans")
  );

  deniedFolder = "/var/lib/fmd-stack/denied";

  maxRetry = {
    fmd-server = cfg.fail2ban.maxRetry;
    fmd-server-locked = cfg.fail2ban.maxRetryLocked;
    fmd-server-nginx = cfg.fail2ban.maxRetryRefused;
    fmd-server-token = cfg.fail2ban.maxRetryToken;
  };

  # A jail of its own ignoreip hears nothing of [DEFAULT]'s.
  ignoreIP = lib.unique (
    [
      "127.0.0.0/8"
      "::1"
    ]
    ++ config.services.fail2ban.ignoreIP
    ++ cfg.fail2ban.ignoreIP
  );

  growth = cfg.fail2ban.banTimeGrowth;

  jailSettings =
    jail:
    {
      findtime = cfg.fail2ban.findTime;
      bantime = cfg.fail2ban.banTime;
      ignoreip = lib.concatStringsSep " " ignoreIP;
      "bantime.increment" = growth != [ ];
    }
    // lib.optionalAttrs (growth != [ ]) {
      "bantime.multipliers" = lib.concatMapStringsSep " " toString growth;
      "bantime.overalljails" = true;
    }
    // lib.optionalAttrs (maxRetry ? ${jail}) { maxretry = maxRetry.${jail}; };
in
{
  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        environment.etc = files;

        services.fail2ban = {
          enable = true;

          jails = {
            DEFAULT.settings = {
              # One of the actions that the shared tree names.
              fmd_ban = "%(fmd_${cfg.fail2ban.banAction})s";
              fmd_reaction = if cfg.fail2ban.fastReaction then "fast" else "stock";
              fmd_allow_list = cfg.fail2ban.allowListFile;
              fmd_port = lib.concatMapStringsSep "," toString cfg.fail2ban.ports;
            };
          }
          // lib.genAttrs shared.jails (jail: {
            settings = lib.mapAttrs (_: lib.mkDefault) (jailSettings jail);
          });
        };

        systemd.services.fail2ban = {
          restartTriggers = map (file: file.source) (lib.attrValues files);
          # However often it ends: without it nobody is banned.
          startLimitIntervalSec = 0;
          serviceConfig = {
            # nginx waits for this unit, which counts as started before any jail
            # stands: now it does when the bans from before are in force again.
            ExecStartPost = "-${pkgs.python3}/bin/python3 ${awaitBans}";
            # The packaged unit leaves fail2ban down when something ended it
            # politely. Only 255, a configuration it can't read, ends the tries.
            Restart = "always";
            RestartSec = "1s";
            RestartPreventExitStatus = [
              ""
              "255"
            ];
            # Who keeps the processor busy with guesses must not keep fail2ban
            # from it.
            Nice = -10;
          };
        };

        systemd.tmpfiles.settings."10-fmd-stack".${cfg.fail2ban.allowListFile}.f = {
          mode = "0644";
          user = "root";
          group = "root";
        };
      }

      (lib.mkIf (cfg.fail2ban.banAction == "nft") {
        services.fail2ban.extraPackages = [ pkgs.nftables ];
        # To look at the bans with, whichever firewall the machine has.
        environment.systemPackages = [ pkgs.nftables ];
        # With security.lockKernelModules nothing is loaded on demand.
        boot.kernelModules = [
          "nf_tables"
          "nft_reject_inet"
        ];
      })

      (lib.mkIf (cfg.fail2ban.banAction == "nginx") {
        services.fail2ban.jails.DEFAULT.settings = {
          fmd_denied = "${deniedFolder}/denied.conf";
          # nginx belongs to another user here, and its configuration is named by
          # its unit alone. The unit's reload tests first, so it is the test; when
          # it fails, the action puts the old list back.
          fmd_nginx_test = "${config.systemd.package}/bin/systemctl try-reload-or-restart nginx.service";
          fmd_nginx_reload = "";
        };
        systemd.services.fail2ban.serviceConfig.ReadWritePaths = [ deniedFolder ];
        # fail2ban writes there and nginx, another user, reads: nothing secret.
        systemd.tmpfiles.settings."10-fmd-stack".${deniedFolder}.d = {
          mode = "0755";
          user = "root";
          group = "root";
        };
      })
    ]
  );
}
