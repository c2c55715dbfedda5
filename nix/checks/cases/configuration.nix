# What the module adds to a machine's configuration.
{ thin, expect, says }:
let
  inherit (thin) addedTo shared;

  withToken = addedTo { fmd.registrationTokenFile = "/run/secrets/token"; };
  behindEdge = addedTo { fmd.trustedProxies = [ "192.0.2.0/24" ]; };
  plain = addedTo { };
  tokenUnit = withToken.systemd.services.fmd-server;

  added = [
    (expect "every jail of the shared tree hears of the options" (
      builtins.attrNames (removeAttrs plain.services.fail2ban.jails [ "DEFAULT" ]) == shared.jails
      && shared.jails != [ ]
    ))
    (expect "every file of the shared tree is in /etc" (
      builtins.all (file: plain.environment.etc ? ${file}) [
        "fail2ban/filter.d/fmd-server.conf"
        "fail2ban/jail.d/fmd-server.conf"
        "nginx/fmd-stack/http.conf"
        "nginx/fmd-stack/server.conf"
      ]
    ))
    (expect "the token is neither in the unit nor on its command line" (
      tokenUnit.serviceConfig.LoadCredential == "registration-token:/run/secrets/token"
      && !tokenUnit.environment ? FMD_REGISTRATIONTOKEN
      && tokenUnit.serviceConfig.ExecStart ? text
    ))
    (expect "without a token nothing is loaded" (
      !plain.systemd.services.fmd-server.serviceConfig ? LoadCredential
    ))
    (expect "stderr is not what the jail counts" (
      tokenUnit.serviceConfig.SyslogIdentifier != "fmd-server"
    ))
    (expect "behind an edge bans are in nginx" (
      behindEdge.services.fail2ban.jails.DEFAULT.settings.fmd_ban == "%(fmd_nginx)s"
    ))
    (expect "the actions that bans name are in the shared tree" (
      builtins.all (action: shared.fail2ban.DEFAULT ? "fmd_${action}") [
        "nft"
        "nginx"
      ]
    ))
    (expect "behind an edge only its networks are believed" (
      says "set_real_ip_from 192.0.2.0/24;.*real_ip_header X-Forwarded-For;" behindEdge
      .environment.etc."nginx/fmd-stack/real-ip.conf".source.text
    ))
    (expect "the ports of a ban follow nginx" (
      (addedTo {
        elsewhere.services.nginx.virtualHosts."fmd.example.org".listen = [
          { port = 8443; }
        ];
      }).services.fail2ban.jails.DEFAULT.settings.fmd_port == "8443"
    ))
    (expect "openFirewall opens the ports, and no others" (
      plain.networking.firewall.allowedTCPPorts == [
        80
        443
      ]
      && (addedTo { fmd.openFirewall = false; }).networking == { }
    ))
    (expect "openFirewall opens what nginx serves, not what a ban closes beside it" (
      (addedTo {
        fmd.fail2ban.ports = [
          22
          80
          443
        ];
      }).networking.firewall.allowedTCPPorts == [
        80
        443
      ]
    ))
    (expect "without backups there is no unit for them" (
      !plain.systemd.services ? fmd-stack-backup
    ))
    (expect "disabled, the module adds nothing" (
      addedTo { fmd.enable = false; } == { _type = "absent"; }
    ))
  ];
in
added
