# The configuration that a NixOS machine would have, as an etc/ tree for
#
#   fmd-stack test --testbed namespaces --rendered DIR
#
# Nothing is built: every file's text is known when the configuration is
# evaluated, so this works where there is no binary cache. As JSON, by path:
#
#   nix-instantiate --eval --strict --json nix/render.nix -A files \
#     --argstr nixpkgs /path/to/nixpkgs --arg settings '{ ... }'
#
# `.ci/nix-check --render DIR` writes the tree.
{
  nixpkgs ? <nixpkgs>,
  settings ? { },
  config ?
    (import "${toString nixpkgs}/nixos/lib/eval-config.nix" {
      system = "x86_64-linux";
      modules = [
        ../nixos-module
        (
          { lib, ... }:
          {
            services.fmd-stack = {
              enable = true;
              hostName = lib.mkDefault "fmd.example.org";
              # The testbeds' attackers speak plain HTTP, on both public ports.
              tls = lib.mkDefault "off";
              fail2ban.ports = lib.mkDefault [
                80
                443
              ];
            };
          }
        )
        { services.fmd-stack = settings; }
      ];
    }).config,
}:
let
  startsWith = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;

  # The text of a file that nixpkgs' helpers would write.
  textOf =
    source:
    # pkgs.concatText
    if builtins.isAttrs source && source ? files then
      builtins.concatStringsSep "" (map textOf source.files)
    # pkgs.formats.yaml: JSON is YAML.
    else if builtins.isAttrs source && source ? value then
      source.value
    else if builtins.isAttrs source && source ? text then
      source.text
    else
      builtins.readFile source;

  # What a stock Debian has itself, nixpkgs links from its packages.
  isOurs =
    path:
    (startsWith "fail2ban/" path || startsWith "nginx/" path || startsWith "fmd-server/" path)
    && !builtins.elem path [
      "fail2ban/action.d"
      "fail2ban/filter.d"
      "fail2ban/fail2ban.conf"
      "fail2ban/jail.conf"
      "fail2ban/paths-common.conf"
    ];

  lines = text: builtins.filter builtins.isString (builtins.split "\n" text);
  matches = pattern: line: builtins.match pattern line != null;

  # nginx.conf for a machine without a Nix store: Debian's own types; what belongs
  # to the process from main.d, which every testbed brings; and conf.d, where
  # scenarios put servers of their own (containers/rootfs/etc/nginx/nginx.conf).
  # The test is of what nginx does, and these lines are not part of that.
  notOfTestbeds = " *(pid |daemon |error_log |include /nix/.*(fastcgi.conf|uwsgi_params)).*";
  lineForTestbed =
    line:
    if matches " *include .*/mime.types;" line then
      "include /etc/nginx/mime.types;"
    else if matches " *include /etc/nginx/fmd-stack/http.conf;" line then
      "${line}\ninclude /etc/nginx/conf.d/*.conf;"
    else
      line;
  forTestbed =
    text:
    builtins.concatStringsSep "\n" (
      [ "include /etc/nginx/main.d/*.conf;" ]
      ++ map lineForTestbed (builtins.filter (line: !matches notOfTestbeds line) (lines text))
    );

  etc = builtins.listToAttrs (
    map (path: {
      name = "etc/${path}";
      value =
        let
          text = textOf config.environment.etc.${path}.source;
        in
        if path == "nginx/nginx.conf" then forTestbed text else text;
    }) (builtins.filter isOurs (builtins.attrNames config.environment.etc))
  );

  # What a testbed starts the daemons with, and NixOS does not need.
  shared = import ../nixos-module/lib/shared.nix;
  ofTestbed = builtins.listToAttrs (
    builtins.concatMap
      (
        folder:
        map (file: {
          name = "${folder}/${file}";
          value = builtins.readFile (shared.rootfs + "/${folder}/${file}");
        }) (shared.filesBelow (shared.rootfs + "/${folder}"))
      )
      [
        "etc/nginx/main.d"
        "etc/systemd/journald.conf.d"
        "usr/lib/fmd-stack"
      ]
  );

  units = [
    "fmd-server.service"
    "fail2ban.service"
    "nginx.service"
  ];
in
{
  files =
    ofTestbed
    // etc
    // builtins.listToAttrs (
      map (unit: {
        name = "etc/systemd/system/${unit}";
        value = config.systemd.units.${unit}.text;
      }) units
    );
}
