# FMD Server: its configuration file, its user and its unit.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.fmd-stack;
  shared = import ./lib/shared.nix;
  sandbox = import ./lib/sandbox.nix;
  settingsFormat = pkgs.formats.yaml { };

  configFile = settingsFormat.generate "fmd-server-config.yml" cfg.settings;

  stateDirectory = "/var/lib/fmd-server";
  inherit (cfg.settings) DatabaseDir;
  databaseIsBelow = lib.hasPrefix "${stateDirectory}/" DatabaseDir;

  token = cfg.registrationTokenFile;

  serve = "${lib.getExe cfg.package} serve --config /etc/fmd-server/config.yml";

  # FMD Server takes the token from its environment or its configuration file
  # only. The environment of a process is its own user's and root's to read; a
  # unit's Environment=, the store and a command line are everybody's.
  serveWithToken = pkgs.writeShellScript "fmd-server-with-token" ''
    set -eu
    IFS= read -r FMD_REGISTRATIONTOKEN < "$CREDENTIALS_DIRECTORY/registration-token" || true
    if [ -z "$FMD_REGISTRATIONTOKEN" ]; then
      # FMD Server takes an empty token for none: everybody could register.
      echo "fmd-server: the first line of ${toString token} is empty; write the token there" >&2
      exit 1
    fi
    export FMD_REGISTRATIONTOKEN
    exec ${serve}
  '';
in
{
  config = lib.mkIf cfg.enable {
    # Leaves of their own priority: every one can be set, none has to be.
    services.fmd-stack.settings = lib.mapAttrs (_: lib.mkDefault) shared.fmdServer;

    environment.etc."fmd-server/config.yml".source = configFile;

    # A system user and not DynamicUser: nginx has to be let into the socket's
    # group by name, backups run as the same user, and a restore by hand needs
    # an owner that is the same tomorrow.
    users.users = lib.mkIf (cfg.user == "fmd-server") {
      fmd-server = {
        isSystemUser = true;
        inherit (cfg) group;
        description = "FMD Server";
      };
    };
    users.groups = lib.mkIf (cfg.group == "fmd-server") { fmd-server = { }; };

    systemd.services.fmd-server = {
      description = "FMD Server (Find My Device)";
      documentation = [ "https://fmd-foss.org/docs/fmd-server/" ];
      wantedBy = [ "multi-user.target" ];
      # FMD Server connects to the journal's socket once, at its start: without
      # it fail2ban would see nothing.
      requires = [
        "systemd-journald-dev-log.socket"
        "systemd-journald.socket"
      ];
      after = [
        "systemd-journald-dev-log.socket"
        "systemd-journald.socket"
        "network.target"
        "nss-lookup.target"
      ];
      restartTriggers = [ configFile ];
      startLimitIntervalSec = 0;
      environment.NO_COLOR = "1";

      serviceConfig = sandbox.common // {
        ExecStart = if token == null then serve else serveWithToken;
        LoadCredential = lib.mkIf (token != null) "registration-token:${token}";
        User = cfg.user;
        Group = cfg.group;
        Restart = "always";
        # At once after a crash, up to 3 s later when crashes go on. Not longer:
        # systemd never takes the interval back.
        RestartSec = "200ms";
        RestartSteps = 4;
        RestartMaxDelaySec = "3s";

        RuntimeDirectory = "fmd-server";
        # nginx, as a member of the group, passes through to the socket.
        RuntimeDirectoryMode = "0750";
        StateDirectory = [
          "fmd-server"
        ]
        ++ lib.optional databaseIsBelow (lib.removePrefix "/var/lib/" DatabaseDir);
        StateDirectoryMode = "0700";
        WorkingDirectory = stateDirectory;
        ReadWritePaths = lib.mkIf (!databaseIsBelow) [ DatabaseDir ];

        # FMD Server writes every failure to /dev/log as "fmd-server" and again
        # to stderr. Under another name here, whoever counts "fmd-server" counts
        # each failure once, whatever his filter.
        SyslogIdentifier = "fmd-server-stderr";
        # A flood from one address must not hide a slow attacker: journald drops
        # above 10,000 lines in 30 s otherwise.
        LogRateLimitIntervalSec = shared.journald.RateLimitIntervalSec;
        LogRateLimitBurst = shared.journald.RateLimitBurst;

        # The wake-up push goes out over the internet; /dev/log and the
        # resolver are unix sockets.
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
        ];
      };
    };
  };
}
