# nginx: the virtual host, its certificate and the shared snippets.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.fmd-stack;
  shared = import ./lib/shared.nix;

  realIp = pkgs.writeText "real-ip.conf" ''
    ${lib.concatMapStrings (network: "set_real_ip_from ${network};\n") cfg.trustedProxies}
    real_ip_header ${cfg.realIpHeader};
    real_ip_recursive on;
  '';

  snippets =
    shared.etcFiles "nginx/fmd-stack"
    // lib.optionalAttrs (cfg.trustedProxies != [ ]) {
      "nginx/fmd-stack/real-ip.conf".source = realIp;
    };

  virtualHost = config.services.nginx.virtualHosts.${cfg.hostName};

  listening = import ./lib/listening.nix {
    inherit (config.services) nginx;
    inherit (cfg) hostName;
  };

  ownCertificate = cfg.tls == "acme" && cfg.acme.useHost == null;
in
{
  config = lib.mkIf cfg.enable {
    environment.etc = snippets;

    services.nginx = {
      enable = true;
      # In /etc and not in the store: they include each other by that path, and
      # fail2ban's list of denied clients is beside them.
      commonHttpConfig = "include /etc/nginx/fmd-stack/http.conf;";
      # nginx's own 512 are held by one patient client; a connection costs 0.5 kB.
      eventsConfig = lib.mkDefault "worker_connections 4096;";
      # Each ban is a reload: a client that drips its request must not keep the
      # workers of every one of them.
      appendConfig = lib.mkIf (cfg.fail2ban.banAction == "nginx") "worker_shutdown_timeout 30s;";
      # The list of denied clients may grow.
      mapHashMaxSize = lib.mkIf (cfg.fail2ban.banAction == "nginx") (lib.mkDefault 65536);

      virtualHosts.${cfg.hostName} = lib.mkMerge [
        {
          extraConfig = "include /etc/nginx/fmd-stack/server.conf;";
          forceSSL = lib.mkDefault (cfg.tls != "off");
        }
        (lib.mkIf ownCertificate { enableACME = lib.mkDefault true; })
        (lib.mkIf (cfg.tls == "acme" && !ownCertificate) { useACMEHost = cfg.acme.useHost; })
        # Only what is given: the assertion about the other half comes first.
        (lib.mkIf (cfg.tls == "files") (
          lib.filterAttrs (_: path: path != null) {
            sslCertificate = cfg.certificate;
            sslCertificateKey = cfg.certificateKey;
          }
        ))
      ];
    };

    security.acme = lib.mkIf (ownCertificate && cfg.acme.email != null) {
      acceptTerms = lib.mkDefault true;
      certs.${cfg.hostName}.email = cfg.acme.email;
    };

    networking.firewall = lib.mkIf cfg.openFirewall {
      allowedTCPPorts = listening.ports;
      allowedUDPPorts = lib.mkIf virtualHost.quic listening.ports;
    };

    systemd.services.nginx = {
      # The door opens when the guard stands there. Not `requires`: without fail2ban
      # nginx's own limits hold, and phones go on reporting where they are.
      wants = [ "fail2ban.service" ];
      after = [ "fail2ban.service" ];
      # nginx's own module watches nginx.conf alone.
      restartTriggers = map (file: file.source) (lib.attrValues snippets);
      serviceConfig = {
        SupplementaryGroups = [ cfg.group ];
        # As for FMD Server: a flood must not hide a slow attacker.
        LogRateLimitIntervalSec = lib.mkDefault shared.journald.RateLimitIntervalSec;
        LogRateLimitBurst = lib.mkDefault shared.journald.RateLimitBurst;
        # A connection and one to FMD Server behind it, for each of eventsConfig.
        LimitNOFILE = lib.mkDefault 16384;
      };
    };
  };
}
