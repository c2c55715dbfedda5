# The options. What they do is beside this file, one file per concern.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) literalExpression mkOption types;
  cfg = config.services.fmd-stack;
  shared = import ./lib/shared.nix;
  fmdTypes = import ./lib/types.nix { inherit lib; };
  listening = import ./lib/listening.nix {
    inherit (config.services) nginx;
    inherit (cfg) hostName;
  };
  settingsFormat = pkgs.formats.yaml { };

  # An option of a jail whose default is the value of the shared tree.
  jailOption =
    {
      jail,
      key,
      type,
      description,
      fromText ? (text: text),
    }:
    mkOption {
      inherit type description;
      default = fromText shared.fail2ban.${jail}.${key};
    };

  maxRetryOption =
    jail: description:
    jailOption {
      inherit jail description;
      key = "maxretry";
      type = types.ints.positive;
      fromText = builtins.fromJSON;
    };
in
{
  imports = [
    ./fmd-server.nix
    ./nginx.nix
    ./fail2ban.nix
    ./backup.nix
    ./checks.nix
  ];

  options.services.fmd-stack = {
    enable = lib.mkEnableOption "FMD Server (Find My Device) behind nginx, protected by fail2ban";

    package = lib.mkPackageOption pkgs "fmd-server" { };

    hostName = mkOption {
      type = fmdTypes.hostName;
      example = "fmd.example.org";
      description = "Name under which phones and browsers reach the server.";
    };

    user = mkOption {
      type = fmdTypes.account;
      default = "fmd-server";
      description = ''
        User that FMD Server runs as. It is made when it has its default name;
        make any other yourself.
      '';
    };

    group = mkOption {
      type = fmdTypes.account;
      default = "fmd-server";
      description = ''
        Group that FMD Server runs as. nginx becomes a member, to reach the
        server's socket. It is made when it has its default name; make any other
        yourself.
      '';
    };

    settings = mkOption {
      type = fmdTypes.described "attribute set of YAML values" (
        types.submodule {
          freeformType = settingsFormat.type;

          options = {
            UnixSocketPath = mkOption {
              type = types.str;
              default = shared.fmdServer.UnixSocketPath;
              description = ''
                Socket that FMD Server listens on. Its TCP listener would bind
                every interface and believe the address header of whoever reaches
                it, so nothing else than the path that nginx knows is accepted.
              '';
            };

            RemoteIpHeader = mkOption {
              type = types.str;
              default = shared.fmdServer.RemoteIpHeader;
              description = ''
                Header that FMD Server takes the client's address from. nginx
                overwrites this one, so no other is accepted.
              '';
            };

            DatabaseDir = mkOption {
              type = fmdTypes.filePath;
              default = shared.fmdServer.DatabaseDir;
              description = ''
                Folder of the database. The unit makes it below
                {file}`/var/lib/fmd-server`; make any other yourself, writable by
                {option}`services.fmd-stack.user` alone.
              '';
            };

            MetricsAddrPort = mkOption {
              type = fmdTypes.addressAndPort;
              default = "";
              example = "[::1]:9101";
              description = ''
                Address and port of the Prometheus metrics; empty for none. FMD
                Server's own default is node_exporter's port, and a clash keeps it
                from starting.
              '';
            };
          };
        }
      );
      default = { };
      example = literalExpression ''
        {
          MaxSavedLoc = 2000;
          TileServerUrl = "https://tiles.example.org/{z}/{x}/{y}.png";
        }
      '';
      description = ''
        FMD Server's {file}`config.yml`, see
        <https://fmd-foss.org/docs/fmd-server/installation/configuration>.
        The file is readable by everybody on the machine: give the registration
        token with {option}`services.fmd-stack.registrationTokenFile`.
      '';
    };

    registrationTokenFile = mkOption {
      type = types.nullOr fmdTypes.filePath;
      default = null;
      example = "/run/secrets/fmd-registration-token";
      description = ''
        File with the token that making an account takes, alone on its line. It
        needs to be readable by root only. Without it everybody who finds the
        server can make an account.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = true;
      example = false;
      description = ''
        Whether to open the ports that nginx serves
        {option}`services.fmd-stack.hostName` on in the firewall.
      '';
    };

    tls = mkOption {
      type = types.enum [
        "acme"
        "files"
        "off"
      ];
      default = "acme";
      description = ''
        Where the certificate comes from: `acme` asks Let's Encrypt,
        `files` takes {option}`services.fmd-stack.certificate` and
        {option}`services.fmd-stack.certificateKey`, `off` serves plain HTTP, for
        a machine behind something else that ends TLS; name that in
        {option}`services.fmd-stack.trustedProxies`.
      '';
    };

    acme = {
      email = mkOption {
        type = types.nullOr fmdTypes.email;
        default = null;
        example = "me@example.org";
        description = ''
          Address that Let's Encrypt writes to. Giving it accepts the
          certificate authority's terms of service. Not needed where
          {option}`security.acme.defaults.email` is set.
        '';
      };

      useHost = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "example.org";
        description = ''
          Certificate of {option}`security.acme.certs` to use, a wildcard say,
          instead of asking for one of its own.
        '';
      };
    };

    certificate = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/var/lib/certificates/fmd.example.org/fullchain.pem";
      description = "Certificate with its chain, for `tls = \"files\"`.";
    };

    certificateKey = mkOption {
      type = types.nullOr fmdTypes.filePath;
      default = null;
      example = "/var/lib/certificates/fmd.example.org/privkey.pem";
      description = "Key of the certificate, readable by nginx, for `tls = \"files\"`.";
    };

    trustedProxies = mkOption {
      type = types.listOf fmdTypes.network;
      default = [ ];
      example = [
        "192.0.2.0/24"
        "2001:db8::/32"
      ];
      description = ''
        Networks of an edge in front of this server (Cloudflare, another proxy)
        that is believed when it names the client in
        {option}`services.fmd-stack.realIpHeader`. Bans then take effect in
        nginx, since the firewall sees the edge alone.
      '';
    };

    realIpHeader = mkOption {
      type = fmdTypes.header;
      default = "X-Forwarded-For";
      example = "CF-Connecting-IP";
      description = ''
        Header in which {option}`services.fmd-stack.trustedProxies` name the
        client.
      '';
    };

    fail2ban = {
      maxRetry = maxRetryOption "fmd-server" ''
        Wrong passwords from one client, within
        {option}`services.fmd-stack.fail2ban.findTime`, that lead to a ban: 6 at
        the most, after which FMD Server locks the account. Below 5 the ban comes
        sooner, but nginx still lets five guesses through at once.
      '';

      maxRetryLocked = maxRetryOption "fmd-server-locked" ''
        Tries on a locked account that lead to a ban. The account's owner makes
        them too while somebody else keeps it locked: leave room for that.
      '';

      maxRetryRefused = maxRetryOption "fmd-server-nginx" ''
        Requests for accounts that don't exist, malformed logins and wrong
        registration tokens that lead to a ban.
      '';

      maxRetryToken = maxRetryOption "fmd-server-token" ''
        Wrong access tokens that lead to a ban. A phone with an expired session
        sends a handful: leave room for that.
      '';

      findTime = jailOption {
        jail = "fmd-server";
        key = "findtime";
        type = fmdTypes.duration;
        description = "How long a failure counts.";
      };

      banTime = jailOption {
        jail = "fmd-server";
        key = "bantime";
        type = fmdTypes.duration;
        description = "How long a first ban lasts.";
      };

      banTimeGrowth = mkOption {
        type = types.listOf types.ints.positive;
        default = map builtins.fromJSON (
          builtins.filter builtins.isString (
            builtins.split " +" shared.fail2ban.DEFAULT.fmd_multipliers
          )
        );
        example = [
          1
          2
          4
          8
        ];
        description = ''
          What {option}`services.fmd-stack.fail2ban.banTime` is multiplied by for
          the first, second, third ban of a client and so on, whichever of the
          jails bans it; the last one holds for all further bans. Empty for bans
          that don't grow.
        '';
      };

      ignoreIP = mkOption {
        type = types.listOf fmdTypes.network;
        default = [ ];
        example = [
          "192.168.0.0/16"
          "2001:db8:0:1::/64"
        ];
        description = ''
          Clients that are never banned, beside this machine itself and
          {option}`services.fail2ban.ignoreIP`.
        '';
      };

      allowListFile = mkOption {
        type = fmdTypes.filePath;
        default = shared.fail2ban.DEFAULT.fmd_allow_list;
        description = ''
          File with more clients that are never banned, one address or network a
          line. It is read while fail2ban runs: a change takes effect within a
          second and frees who is listed.
        '';
      };

      ports = mkOption {
        type = types.nonEmptyListOf types.port;
        default = listening.ports;
        defaultText = lib.literalMD "those that nginx serves {option}`services.fmd-stack.hostName` on";
        example = [
          80
          443
        ];
        description = "Ports that a ban closes to the client, for TCP and UDP.";
      };

      banAction = mkOption {
        type = types.enum [
          "nft"
          "nginx"
        ];
        default = if cfg.trustedProxies == [ ] then "nft" else "nginx";
        defaultText = literalExpression ''if trustedProxies == [ ] then "nft" else "nginx"'';
        description = ''
          Where a ban takes effect: `nft` in the kernel, in nftables sets of its
          own that stand beside either firewall backend of NixOS, iptables
          included; `nginx` in nginx, which answers the client no more.
        '';
      };

      fastReaction = mkOption {
        type = types.bool;
        default = shared.fail2ban.DEFAULT.fmd_reaction == "fast";
        example = false;
        description = ''
          Whether fail2ban looks for failures every 0.1 s and acts at once,
          instead of waiting its own fixed times (a median of 0.6 s).
        '';
      };
    };

    backup = {
      enable = lib.mkEnableOption "dumps of FMD Server's database on a timer";

      location = mkOption {
        type = fmdTypes.filePath;
        default = "/var/backup/fmd-server";
        description = "Folder of the dumps.";
      };

      startAt = mkOption {
        type = types.str;
        default = "*-*-* 03:15:00";
        example = "hourly";
        description = "When to dump, as {manpage}`systemd.time(7)` writes it.";
      };

      keep = mkOption {
        type = types.ints.positive;
        default = 14;
        description = "How many dumps to keep.";
      };
    };
  };
}
