# Combinations that would silently not protect, and those that are fine.
{ thin, expect, says }:
let
  inherit (thin) problemsOf;

  failing = settings: builtins.filter (one: !one.assertion) (problemsOf settings).assertions;

  noProblem =
    name: settings:
    expect "no problem with ${name}" (failing settings == [ ] && (problemsOf settings).warnings == [ ]);

  # One setting, the one assertion that has to fail and the way out that it names.
  stopped =
    name: settings: wayOut:
    expect "stopped, with the way out: ${name}" (
      builtins.length (failing settings) == 1 && says wayOut (builtins.head (failing settings)).message
    );

  warned =
    name: settings: wayOut:
    expect "warned of, with the way out: ${name}" (
      failing settings == [ ]
      && builtins.length (problemsOf settings).warnings == 1
      && says wayOut (builtins.head (problemsOf settings).warnings)
    );

  edge = {
    trustedProxies = [ "192.0.2.0/24" ];
  };

  problems = [
    (noProblem "the minimal settings" { })
    (noProblem "nftables" { elsewhere.networking.nftables.enable = true; })
    (noProblem "an own ruleset" {
      elsewhere.networking = {
        firewall.enable = false;
        nftables.enable = true;
      };
    })
    (noProblem "an edge" { fmd = edge; })
    (noProblem "an own certificate" {
      fmd = {
        tls = "files";
        certificate = "/c";
        certificateKey = "/k";
        acme.email = null;
      };
    })
    (noProblem "lists of own networks" {
      fmd.fail2ban.ignoreIP = [
        "10.0.0.0/8"
        "2001:db8::/32"
      ];
      elsewhere.services.fail2ban.ignoreIP = [ "home.example.org" ];
    })
    (noProblem "the PROXY protocol from a balancer that is trusted" {
      fmd = edge // {
        realIpHeader = "proxy_protocol";
      };
      elsewhere.services.nginx.virtualHosts."fmd.example.org".listen = [
        {
          port = 443;
          proxyProtocol = true;
        }
      ];
    })

    (stopped "no firewall" {
      elsewhere.networking.firewall.enable = false;
    } "networking.firewall.enable = true")
    (stopped "nginx off" { elsewhere.services.nginx.enable = false; } "services.nginx.enable on")
    (stopped "an nginx.conf by hand" {
      elsewhere.services.nginx.config = "events {}";
    } "commonHttpConfig")
    (stopped "fail2ban off" { elsewhere.services.fail2ban.enable = false; } "services.fail2ban.enable")
    (stopped "a jail off" {
      elsewhere.services.fail2ban.jails.fmd-server.enabled = false;
    } "the jails fmd-server are")
    (stopped "RemoteIpHeader overridden" {
      fmd.settings.RemoteIpHeader = "X-Forwarded-For";
    } "Leave it at \"X-Real-IP\"")
    (stopped "the socket switched off" {
      fmd.settings.UnixSocketPath = "";
    } "Leave it at \"/run/fmd-server/fmd-server.sock\"")
    (stopped "a token for the store" {
      fmd.settings.RegistrationToken = "secret";
    } "registrationTokenFile")
    (stopped "an edge with a firewall ban" {
      fmd = edge // {
        fail2ban.banAction = "nft";
      };
    } "set it to \"nginx\"")
    (stopped "everybody is the edge" {
      fmd.trustedProxies = [ "0.0.0.0/0" ];
    } "networks of the edge alone")
    (stopped "ignoreIP of the world" {
      fmd.fail2ban.ignoreIP = [ "::/0" ];
    } "your own addresses alone")
    (stopped "ignoreIP of the world in halves" {
      fmd.fail2ban.ignoreIP = [
        "0.0.0.0/1"
        "128.0.0.0/1"
      ];
    } "0.0.0.0/1, 128.0.0.0/1")
    (stopped "ignoreIP of the world, at fail2ban" {
      elsewhere.services.fail2ban.ignoreIP = [ "2000::/3" ];
    } "services.fail2ban.ignoreIP")
    (stopped "a port that bans leave open" {
      fmd.fail2ban.ports = [ 443 ];
    } "port 80 too.*fail2ban.ports")
    (stopped "the PROXY protocol from nobody trusted" {
      elsewhere.services.nginx.virtualHosts."fmd.example.org".listen = [
        {
          port = 443;
          proxyProtocol = true;
        }
      ];
    } "trustedProxies to its networks")
    (stopped "no journal" { elsewhere.services.journald.storage = "none"; } "\"persistent\"")
    (stopped "no ACME email" { fmd.acme.email = null; } "fmd-stack.acme.email")
    (stopped "half a certificate" {
      fmd = {
        tls = "files";
        certificate = "/c";
      };
    } "certificateKey")
    (stopped "a second FMD Server" {
      elsewhere.services.fmd-server.enable = true;
    } "services.fmd-server.enable off")

    (warned "a port of FMD Server's own" { fmd.settings.PortInsecure = 8080; } "Remove it")
    (warned "a ruleset that is flushed" {
      elsewhere.networking.nftables = {
        enable = true;
        flushRuleset = true;
      };
    } "Set it to false")
    (warned "plain HTTP with nobody in front" { fmd.tls = "off"; } "trustedProxies")
  ];
in
problems
