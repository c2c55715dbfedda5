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
# `.ci/nix-check --render DIR` writes the tree. Every text is NixOS' own; what a
# testbed needs otherwise, it changes itself (docs/how-to/rendered.md).
{
  nixpkgs ? <nixpkgs>,
  settings ? { },
  modules ? [ ],
}:
let
  inherit
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
            # nginx.conf in /etc: in the store its text is not known before it is built.
            services.nginx.enableReload = lib.mkForce true;
          }
        )
        { services.fmd-stack = settings; }
      ]
      ++ modules;
    })
    config
    ;

  startsWith = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;

  # A mapping as json2yaml writes it, for faults are seeded by the line. JSON is
  # YAML: what is not a plain word or path stays as it is.
  yaml =
    mapping:
    let
      isPlain =
        value: builtins.isString value && builtins.match "/[A-Za-z0-9/._-]+|X-[A-Za-z-]+" value != null;
      line =
        key:
        let
          value = mapping.${key};
        in
        "${key}: ${if isPlain value then value else builtins.toJSON value}\n";
    in
    builtins.concatStringsSep "" (map line (builtins.attrNames mapping));

  # The text of a file that nixpkgs' helpers would write.
  textOf =
    source:
    # pkgs.concatText
    if builtins.isAttrs source && source ? files then
      builtins.concatStringsSep "" (map textOf source.files)
    # pkgs.formats.yaml
    else if builtins.isAttrs source && source ? value then
      yaml (builtins.fromJSON source.value)
    else if builtins.isAttrs source && source ? text then
      source.text
    else
      builtins.readFile source;

  # What a stock Debian has itself, nixpkgs links from its packages.
  isOurs =
    path:
    builtins.any (folder: startsWith folder path) [
      "fail2ban/"
      "fmd-server/"
      "nginx/"
    ]
    && !builtins.elem path [
      "fail2ban/action.d"
      "fail2ban/filter.d"
      "fail2ban/fail2ban.conf"
      "fail2ban/jail.conf"
      "fail2ban/paths-common.conf"
    ];

  etc = builtins.listToAttrs (
    map (path: {
      name = "etc/${path}";
      value = textOf config.environment.etc.${path}.source;
    }) (builtins.filter isOurs (builtins.attrNames config.environment.etc))
  );

  # A unit that a package has and NixOS adds to is a drop-in.
  unitFile =
    name: text:
    if builtins.match ".*\nExecStart=.*" text == null then
      "etc/systemd/system/${name}.d/overrides.conf"
    else
      "etc/systemd/system/${name}";

  units = builtins.listToAttrs (
    map
      (
        name:
        let
          inherit (config.systemd.units.${name}) text;
        in
        {
          name = unitFile name text;
          value = text;
        }
      )
      [
        "fail2ban.service"
        "fmd-server.service"
        "nginx.service"
      ]
  );
in
{
  files = etc // units;
}
