# What has to hold with nixpkgs' own modules: a list of names, each with whether
# it holds. Evaluates, builds nothing.
{
  nixpkgs ? <nixpkgs>,
}:
let
  lib = import "${toString nixpkgs}/lib";
  combinations = import ./combinations.nix;

  evaluate =
    modules:
    (import "${toString nixpkgs}/nixos/lib/eval-config.nix" {
      system = "x86_64-linux";
      modules = [
        ../../nixos-module
        {
          boot.loader.grub.enable = lib.mkDefault false;
          fileSystems."/" = lib.mkDefault {
            device = "none";
            fsType = "tmpfs";
          };
          system.stateVersion = lib.mkDefault lib.trivial.release;
        }
      ]
      ++ modules;
    }).config;

  minimal.services.fmd-stack = {
    enable = true;
    hostName = lib.mkDefault "fmd.example.org";
    acme.email = lib.mkDefault "me@example.org";
  };

  # What somebody sets elsewhere against this module he has to force.
  forced = lib.mapAttrsRecursive (_: lib.mkForce);

  machineOf =
    {
      fmd ? { },
      elsewhere ? { },
    }:
    evaluate [
      minimal
      { services.fmd-stack = fmd; }
      (forced elsewhere)
    ];

  # A module that this nixpkgs does not have (yet) can't be set either.
  possible = { settings, ... }: !(settings ? elsewhere.services.fmd-server);

  ours = builtins.filter (lib.hasInfix "fmd-stack");
  failing =
    config: map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);

  expect = name: holds: { inherit name holds; };

  rows =
    folder:
    lib.mapAttrsToList (file: _: {
      name = lib.removeSuffix ".nix" file;
      module = folder + "/${file}";
    }) (builtins.readDir folder);

  variant =
    { firewall, transport }:
    let
      config = evaluate [
        minimal
        firewall.module
        transport.module
        { _module.args.testCertificate = "/var/lib/test"; }
      ];
      rendered =
        (import ../render.nix {
          inherit nixpkgs;
          modules = [
            firewall.module
            transport.module
            { _module.args.testCertificate = "/var/lib/test"; }
          ];
        }).files;
    in
    expect "${firewall.name}-${transport.name} evaluates and renders" (
      failing config == [ ]
      && lib.isString config.system.build.toplevel.drvPath
      && lib.all (path: rendered.${path} or "" != "") [
        "etc/fail2ban/jail.local"
        "etc/fmd-server/config.yml"
        "etc/nginx/nginx.conf"
        "etc/systemd/system/fmd-server.service"
      ]
    );

  variants = lib.cartesianProduct {
    firewall = rows ../tests/firewall;
    transport = rows ../tests/transport;
  };
in
map variant variants
++ map (
  { name, settings }: expect "no problem with ${name}" (ours (failing (machineOf settings)) == [ ])
) combinations.fine
++ map (
  { name, settings, ... }:
  expect "stopped: ${name}" (builtins.length (ours (failing (machineOf settings))) == 1)
) (builtins.filter possible combinations.stopped)
++ map (
  { name, settings, ... }:
  expect "warned of: ${name}" (builtins.length (ours (machineOf settings).warnings) == 1)
) combinations.warned
++ [
  (expect "the template evaluates" (failing (evaluate [ ../template/fmd-stack.nix ]) == [ ]))
  (expect "nixpkgs' lib gives the same option reference as thin-lib.nix" (
    (import ./default.nix).docs == import ../option-docs.nix {
      inherit
        (import ../../nixos-module {
          inherit lib;
          pkgs = import nixpkgs {
            system = "x86_64-linux";
            config = { };
          };
          config = { };
        })
        options
        ;
    }
  ))
]
