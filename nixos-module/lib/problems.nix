# What would silently not protect, and the way out of it. Takes the evaluated
# configuration or a small stand-in with the attributes read here: the checks
# evaluate this file without nixpkgs.
{ config }:
let
  cfg = config.services.fmd-stack;
  inherit (config.services) nginx fail2ban;
  inherit (config.networking) firewall nftables;

  networks = import ./networks.nix;
  shared = import ./shared.nix;

  edge = cfg.trustedProxies != [ ];
  list = builtins.concatStringsSep ", ";
  ports = numbers: list (map toString numbers);
  isTooWide = text: networks.isNetwork text && networks.coversTheWorld text;
  tooWide = builtins.filter isTooWide;

  # What fail2ban is told about a jail of ours, whoever says it.
  settingsOf = jail: fail2ban.jails.${jail}.settings or { };
  ignoredBy = jail: builtins.split "[ ,\n]+" (toString ((settingsOf jail).ignoreip or ""));

  unique = builtins.foldl' (
    found: value: if builtins.elem value found then found else found ++ [ value ]
  ) [ ];
  ignored = unique (
    tooWide (
      cfg.fail2ban.ignoreIP
      ++ fail2ban.ignoreIP
      ++ builtins.filter builtins.isString (builtins.concatMap ignoredBy shared.jails)
    )
  );
  trusted = tooWide cfg.trustedProxies;

  listening = import ./listening.nix {
    inherit nginx;
    inherit (cfg) hostName;
  };
  unbannable = builtins.filter (port: !builtins.elem port cfg.fail2ban.ports) listening.ports;

  isOff =
    jail:
    !(fail2ban.jails.${jail}.enabled or true)
    || builtins.elem ((settingsOf jail).enabled or true) [
      false
      "false"
    ];
  jailsOff = builtins.filter isOff shared.jails;

  # FMD Server locks an account after so many wrong passwords, and what comes then
  # counts in another jail.
  locksAfter = 6;
  maxRetry = toString ((settingsOf "fmd-server").maxretry or cfg.fail2ban.maxRetry);

  # NixOS 26.11 has `settings` instead, and warns of who reads the old name.
  inherit (config.services) journald;
  journalStorage =
    if journald ? settings then
      journald.settings.Journal.Storage or "persistent"
    else
      journald.storage or "persistent";

  ownPorts = builtins.filter (key: (cfg.settings.${key} or (-1)) > 0) [
    "PortInsecure"
    "PortSecure"
  ];

  unless = assertion: message: { inherit assertion message; };
  warnIf = condition: message: if condition then [ message ] else [ ];
in
{
  assertions = [
    (unless (nginx.enable && nginx.config == "" && nginx.httpConfig == "") ''
      services.fmd-stack: nginx does not serve services.nginx.virtualHosts, so FMD
      Server would be reachable by nobody, or by a way around the limits. Leave
      services.nginx.enable on and services.nginx.config and .httpConfig empty;
      use services.nginx.commonHttpConfig for what belongs at the http level.
    '')
    (unless (fail2ban.enable && jailsOff == [ ]) ''
      services.fmd-stack: ${
        if fail2ban.enable then "the jails ${list jailsOff} are" else "fail2ban is"
      } switched off, so nobody would be banned. Leave services.fail2ban.enable and
      services.fail2ban.jails.<name>.enabled on; thresholds are in
      services.fmd-stack.fail2ban.
    '')
    (unless (builtins.fromJSON maxRetry <= locksAfter) ''
      services.fmd-stack: the jail fmd-server would ban after ${maxRetry} wrong passwords, which
      nobody ever gets to on one account: FMD Server locks it after ${toString locksAfter}. Set
      services.fmd-stack.fail2ban.maxRetry to ${toString locksAfter} or less.
    '')
    (unless (edge || firewall.enable || nftables.enable) ''
      services.fmd-stack: there is no firewall, so the bans would be the only packet
      filter of this machine and every other port is open to everybody. Set
      networking.firewall.enable = true, or networking.nftables.enable = true with a
      ruleset of your own.
    '')
    (unless (cfg.settings.RemoteIpHeader == shared.fmdServer.RemoteIpHeader) ''
      services.fmd-stack: settings.RemoteIpHeader is "${cfg.settings.RemoteIpHeader}", which nginx
      does not overwrite: clients could name any address as theirs and get others
      banned. Leave it at "${shared.fmdServer.RemoteIpHeader}"; for an edge in front of this machine set
      services.fmd-stack.trustedProxies and .realIpHeader.
    '')
    (unless (cfg.settings.UnixSocketPath == shared.fmdServer.UnixSocketPath) ''
      services.fmd-stack: settings.UnixSocketPath is "${cfg.settings.UnixSocketPath}". Switched off, FMD
      Server listens on every interface and is reachable past nginx; elsewhere, nginx
      does not find it. Leave it at "${shared.fmdServer.UnixSocketPath}".
    '')
    (unless (cfg.settings.RegistrationToken or "" == "") ''
      services.fmd-stack: settings.RegistrationToken would put the token into the Nix
      store, readable by everybody on this machine. Write it into a file and name that
      in services.fmd-stack.registrationTokenFile.
    '')
    (unless (!edge || cfg.fail2ban.banAction == "nginx") ''
      services.fmd-stack: with trustedProxies the firewall sees the edge and never the
      attacker, so a ban by "${cfg.fail2ban.banAction}" would stop nobody. Remove
      services.fmd-stack.fail2ban.banAction, or set it to "nginx".
    '')
    (unless (trusted == [ ]) ''
      services.fmd-stack: trustedProxies holds ${list trusted}, which is (nearly) everybody: any
      client could name any address as its own. Give the networks of the edge alone.
    '')
    (unless (ignored == [ ]) ''
      services.fmd-stack: ignoreIP holds ${list ignored}, which is (nearly) everybody: nobody would
      be banned. Give your own addresses alone, in services.fmd-stack.fail2ban.ignoreIP,
      services.fail2ban.ignoreIP or the ignoreip of a jail.
    '')
    (unless (unbannable == [ ]) ''
      services.fmd-stack: nginx serves ${cfg.hostName} on port ${ports unbannable} too, which a ban would
      leave open. Add it to services.fmd-stack.fail2ban.ports.
    '')
    (unless
      (
        cfg.realIpHeader == "proxy_protocol" && edge
        || !listening.takesProxyProtocol
      )
      ''
        services.fmd-stack: nginx listens with the PROXY protocol, but takes the sender for
        the client: a ban would cut off the balancer and with it everybody. Set
        services.fmd-stack.trustedProxies to its networks and .realIpHeader to
        "proxy_protocol".
      ''
    )
    (unless (journalStorage != "none") ''
      services.fmd-stack: the journal's storage (services.journald) is "none", so fail2ban
      has nothing to read. Set it to "volatile" or "persistent".
    '')
    (unless
      (
        cfg.tls != "acme"
        || cfg.acme.useHost != null
        || cfg.acme.email != null
        || (config.security.acme.defaults.email or null) != null
      )
      ''
        services.fmd-stack: Let's Encrypt wants an email address. Set
        services.fmd-stack.acme.email, which accepts its terms of service, or choose
        another services.fmd-stack.tls ("files", or "off" behind something that ends TLS).
      ''
    )
    (unless (cfg.tls != "files" || (cfg.certificate != null && cfg.certificateKey != null)) ''
      services.fmd-stack: tls = "files" takes both services.fmd-stack.certificate and
      .certificateKey.
    '')
    (unless (!(config.services.fmd-server.enable or false)) ''
      services.fmd-stack and services.fmd-server are two ways to run FMD Server. Switch
      services.fmd-server.enable off: it knows neither these limits nor these bans.
    '')
  ];

  warnings =
    map (key: ''
      services.fmd-stack: settings.${key} has no effect, since FMD Server listens on
      its unix socket alone. Remove it; where nginx listens is in
      services.nginx.virtualHosts."${cfg.hostName}".listen.
    '') ownPorts
    ++ warnIf (nftables.enable && nftables.flushRuleset or false && !edge) ''
      services.fmd-stack: networking.nftables.flushRuleset empties fail2ban's sets
      whenever the firewall is reloaded, and who was banned is free until his next
      failures. Set it to false; NixOS replaces its own tables without it.
    ''
    ++ warnIf (cfg.tls == "off" && !edge) ''
      services.fmd-stack: with tls = "off" and no trustedProxies, password hashes cross
      the network unencrypted. And if something in front ends TLS, nginx takes it for
      the client: a ban cuts everybody off, or, if it runs on this machine, nobody is
      ever banned. Set services.fmd-stack.tls to "acme" or "files", or trustedProxies
      to the addresses of what is in front ("127.0.0.1" and "::1" if it runs here).
    '';
}
