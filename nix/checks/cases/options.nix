# Option declarations: described, with defaults and examples of their own type,
# and types that refuse nonsense.
{ thin, expect }:
let
  inherit (thin) lib;

  options = thin.optionsFor (thin.machineWith { });
  optionAt = path: builtins.foldl' (tree: name: tree.${name}) options path;
  accepts = path: value: (optionAt path).type.check value;
  shown = path: value: "${builtins.concatStringsSep "." path} = ${builtins.toJSON value}";

  each =
    verdict: holds:
    { path, values }:
    map (value: expect "${verdict}: ${shown path value}" (holds path value)) values;

  allOptions =
    path: tree:
    builtins.concatLists (
      map (
        name:
        let
          here = path ++ [ name ];
          value = tree.${name};
        in
        if value._type or "" == "option" then [ here ] else allOptions here value
      ) (builtins.attrNames tree)
    );

  # Values in words are for the reader; those in Nix are for the type.
  isValue = value: !(builtins.isAttrs value && value ? _type);

  declared = builtins.concatMap (
    path:
    let
      option = optionAt path;
      name = builtins.concatStringsSep "." path;
    in
    [
      (expect "${name} has a description" (option.description or "" != ""))
    ]
    ++ lib.optional (option ? default && !option ? defaultText) (
      expect "the default of ${name} is of its type" (accepts path option.default)
    )
    ++ lib.optional (option ? example && isValue option.example) (
      expect "the example of ${name} is of its type" (accepts path option.example)
    )
  ) (allOptions [ ] options);

  taken = builtins.concatMap (each "taken" accepts) [
    {
      path = [ "hostName" ];
      values = [
        "fmd.example.org"
        "localhost"
        "xn--bcher-kva.example"
      ];
    }
    {
      path = [
        "fail2ban"
        "banTime"
      ];
      values = [
        "10m"
        "3600"
        "4w"
      ];
    }
    {
      path = [ "trustedProxies" ];
      values = [
        [
          "192.0.2.0/24"
          "2001:db8::/32"
          "::1"
        ]
      ];
    }
  ];

  refused = builtins.concatMap (each "refused" (path: value: !accepts path value)) [
    {
      path = [ "hostName" ];
      values = [
        ""
        "FMD.example.org"
        "https://fmd.example.org"
        "fmd.example.org; return 200"
        "-a.example.org"
        "fmd.example.org/"
      ];
    }
    {
      path = [
        "acme"
        "email"
      ];
      values = [
        "me"
        "me@"
        "a b@example.org"
      ];
    }
    {
      path = [ "registrationTokenFile" ];
      values = [
        "token"
        "${builtins.storeDir}/00000000000000000000000000000000-token"
      ];
    }
    {
      path = [
        "backup"
        "location"
      ];
      values = [
        "/var/backup/my dumps"
        "/var/%n"
        "/a;b"
        "backup"
      ];
    }
    {
      path = [ "user" ];
      values = [
        ""
        "a b"
        "-a"
      ];
    }
    {
      path = [ "trustedProxies" ];
      values = [
        [ "edge.example.org" ]
        [ "192.0.2.256" ]
        [ "192.0.2.0/33" ]
        [ "192.0.2.1; allow all" ]
        [ "2001:db8::1::" ]
        "192.0.2.0/24"
      ];
    }
    {
      path = [ "realIpHeader" ];
      values = [
        ""
        "X-Forwarded-For; return 200"
      ];
    }
    {
      path = [ "tls" ];
      values = [
        "on"
        true
      ];
    }
    {
      path = [
        "fail2ban"
        "maxRetry"
      ];
      values = [
        0
        (-1)
        "5"
      ];
    }
    {
      path = [
        "fail2ban"
        "banTime"
      ];
      values = [
        "0"
        "-1"
        "ten minutes"
        ""
        600
      ];
    }
    {
      path = [
        "fail2ban"
        "banTimeGrowth"
      ];
      values = [
        [ 0 ]
        "1 2 4"
      ];
    }
    {
      path = [
        "fail2ban"
        "ignoreIP"
      ];
      values = [
        [ "home.example.org" ]
        [ "10.0.0.0/8 192.168.0.0/16" ]
      ];
    }
    {
      path = [
        "fail2ban"
        "ports"
      ];
      values = [
        [ ]
        [ "http" ]
        [ 65536 ]
      ];
    }
    {
      path = [
        "fail2ban"
        "banAction"
      ];
      values = [
        "iptables-multiport"
        "none"
      ];
    }
    {
      path = [
        "backup"
        "keep"
      ];
      values = [ 0 ];
    }
  ];
in
declared ++ taken ++ refused
