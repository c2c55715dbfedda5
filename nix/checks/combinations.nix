# Combinations of settings: those that are fine, and those that would silently
# not protect, with words of the way out that the message has to name. `fmd` are
# settings of services.fmd-stack beside a host name and an ACME address,
# `elsewhere` everything else of a machine.
let
  edge = {
    trustedProxies = [ "192.0.2.0/24" ];
  };
in
{
  fine = [
    {
      name = "the minimal settings";
      settings = { };
    }
    {
      name = "nftables";
      settings = {
        elsewhere.networking.nftables.enable = true;
      };
    }
    {
      name = "an own ruleset";
      settings = {
        elsewhere.networking = {
          firewall.enable = false;
          nftables.enable = true;
        };
      };
    }
    {
      name = "an edge";
      settings = {
        fmd = edge;
      };
    }
    {
      name = "an own certificate";
      settings = {
        fmd = {
          tls = "files";
          certificate = "/c";
          certificateKey = "/k";
          acme.email = null;
        };
      };
    }
    {
      name = "another port for all virtual hosts";
      settings = {
        elsewhere.services.nginx.defaultSSLListenPort = 8443;
      };
    }
    {
      name = "a ban after the last wrong password before an account is locked";
      settings = {
        fmd.fail2ban.maxRetry = 6;
      };
    }
    {
      name = "lists of own networks";
      settings = {
        fmd.fail2ban.ignoreIP = [
          "10.0.0.0/8"
          "2001:db8::/32"
        ];
        elsewhere.services.fail2ban.ignoreIP = [ "home.example.org" ];
      };
    }
    {
      name = "the PROXY protocol from a balancer that is trusted";
      settings = {
        fmd = edge // {
          realIpHeader = "proxy_protocol";
        };
        elsewhere.services.nginx.virtualHosts."fmd.example.org".listen = [
          {
            addr = "0.0.0.0";
            port = 443;
            proxyProtocol = true;
          }
        ];
      };
    }
  ];

  stopped = [
    {
      name = "no firewall";
      settings = {
        elsewhere.networking.firewall.enable = false;
      };
      wayOut = "networking.firewall.enable = true";
    }
    {
      name = "nginx off";
      settings = {
        elsewhere.services.nginx.enable = false;
      };
      wayOut = "services.nginx.enable on";
    }
    {
      name = "an nginx.conf by hand";
      settings = {
        elsewhere.services.nginx.config = "events {}";
      };
      wayOut = "commonHttpConfig";
    }
    {
      name = "fail2ban off";
      settings = {
        elsewhere.services.fail2ban.enable = false;
      };
      wayOut = "services.fail2ban.enable";
    }
    {
      name = "a jail off";
      settings = {
        elsewhere.services.fail2ban.jails.fmd-server.enabled = false;
      };
      wayOut = "the jails fmd-server are";
    }
    {
      name = "more wrong passwords than an account bears";
      settings = {
        fmd.fail2ban.maxRetry = 7;
      };
      wayOut = "maxRetry to 6 or less";
    }
    {
      name = "the same by the jail's settings";
      settings = {
        elsewhere.services.fail2ban.jails.fmd-server.settings.maxretry = "10";
      };
      wayOut = "maxRetry to 6 or less";
    }
    {
      name = "a jail off by its settings";
      settings = {
        elsewhere.services.fail2ban.jails.fmd-server-nginx.settings.enabled = false;
      };
      wayOut = "the jails fmd-server-nginx are";
    }
    {
      name = "RemoteIpHeader overridden";
      settings = {
        fmd.settings.RemoteIpHeader = "X-Forwarded-For";
      };
      wayOut = "Leave it at \"X-Real-IP\"";
    }
    {
      name = "the socket switched off";
      settings = {
        fmd.settings.UnixSocketPath = "";
      };
      wayOut = "Leave it at \"/run/fmd-server/fmd-server.sock\"";
    }
    {
      name = "a token for the store";
      settings = {
        fmd.settings.RegistrationToken = "secret";
      };
      wayOut = "registrationTokenFile";
    }
    {
      name = "an edge with a firewall ban";
      settings = {
        fmd = edge // {
          fail2ban.banAction = "nft";
        };
      };
      wayOut = "set it to \"nginx\"";
    }
    {
      name = "everybody is the edge";
      settings = {
        fmd.trustedProxies = [ "0.0.0.0/0" ];
      };
      wayOut = "networks of the edge alone";
    }
    {
      name = "ignoreIP of the world";
      settings = {
        fmd.fail2ban.ignoreIP = [ "::/0" ];
      };
      wayOut = "your own addresses alone";
    }
    {
      name = "ignoreIP of the world in halves";
      settings = {
        fmd.fail2ban.ignoreIP = [
          "0.0.0.0/1"
          "128.0.0.0/1"
        ];
      };
      wayOut = "0.0.0.0/1, 128.0.0.0/1";
    }
    {
      name = "ignoreIP of the world, at fail2ban";
      settings = {
        elsewhere.services.fail2ban.ignoreIP = [ "2000::/3" ];
      };
      wayOut = "services.fail2ban.ignoreIP";
    }
    {
      name = "ignoreIP of the world, at a jail";
      settings = {
        elsewhere.services.fail2ban.jails.fmd-server.settings.ignoreip = "10.0.0.1 ::/0";
      };
      wayOut = "holds ::/0,.*the ignoreip of a jail";
    }
    {
      name = "a port of all virtual hosts that bans leave open";
      settings = {
        fmd.fail2ban.ports = [ 443 ];
        elsewhere.services.nginx.defaultListen = [
          {
            addr = "0.0.0.0";
            port = 8443;
            ssl = true;
          }
        ];
      };
      wayOut = "port 8443 too.*fail2ban.ports";
    }
    {
      name = "a port that bans leave open";
      settings = {
        fmd.fail2ban.ports = [ 443 ];
      };
      wayOut = "port 80 too.*fail2ban.ports";
    }
    {
      name = "the PROXY protocol from nobody trusted";
      settings = {
        elsewhere.services.nginx.virtualHosts."fmd.example.org".listen = [
          {
            addr = "0.0.0.0";
            port = 443;
            proxyProtocol = true;
          }
        ];
      };
      wayOut = "trustedProxies to its networks";
    }
    {
      name = "no journal";
      settings = {
        elsewhere.services.journald.storage = "none";
      };
      wayOut = "\"persistent\"";
    }
    {
      name = "no ACME email";
      settings = {
        fmd.acme.email = null;
      };
      wayOut = "fmd-stack.acme.email";
    }
    {
      name = "half a certificate";
      settings = {
        fmd = {
          tls = "files";
          certificate = "/c";
        };
      };
      wayOut = "certificateKey";
    }
    {
      name = "a second FMD Server";
      settings = {
        elsewhere.services.fmd-server.enable = true;
      };
      wayOut = "services.fmd-server.enable off";
    }
  ];

  warned = [
    {
      name = "a port of FMD Server's own";
      settings = {
        fmd.settings.PortInsecure = 8080;
      };
      wayOut = "Remove it";
    }
    {
      name = "a ruleset that is flushed";
      settings = {
        elsewhere.networking.nftables = {
          enable = true;
          flushRuleset = true;
        };
      };
      wayOut = "Set it to false";
    }
    {
      name = "plain HTTP with nobody in front";
      settings = {
        fmd.tls = "off";
      };
      wayOut = "trustedProxies";
    }
  ];
}
