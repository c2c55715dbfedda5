# The module evaluated without nixpkgs, over nix/checks/thin-lib.nix: its option
# declarations, and what its files add to a machine's configuration.
let
  lib = import ./thin-lib.nix;
  shared = import ../../nixos-module/lib/shared.nix;
  module = ../../nixos-module;

  package = name: {
    type = "derivation";
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    meta.mainProgram = name;
  };

  # A written file stays readable: its text is where its path would be.
  file = name: text: package name // { inherit text; };

  pkgs = {
    fmd-server = package "fmd-server";
    nftables = package "nftables";
    python3 = package "python3";
    coreutils = package "coreutils";
    gzip = package "gzip";
    sqlite = package "sqlite";
    writeText = file;
    writeShellScript = file;
    writeShellScriptBin = file;
    writeShellApplication = { name, text, ... }: file name text;
    formats.yaml = _: {
      type.description = "YAML value";
      # JSON is YAML.
      generate = name: value: file name (builtins.toJSON value);
    };
  };

  optionsFor =
    config: (import module { inherit lib pkgs config; }).options.services.fmd-stack;

  # The parts of a machine that the module reads, as nixpkgs has them untouched.
  machine = {
    services = {
      nginx = {
        enable = true;
        config = "";
        httpConfig = "";
        defaultHTTPListenPort = 80;
        defaultSSLListenPort = 443;
      };
      fail2ban = {
        enable = true;
        ignoreIP = [ ];
        jails = { };
      };
      journald.storage = "persistent";
    };
    networking = {
      firewall.enable = true;
      nftables = {
        enable = false;
        flushRuleset = false;
      };
    };
    security.acme.defaults.email = null;
    systemd.package = package "systemd";
  };

  minimal = {
    enable = true;
    hostName = "fmd.example.org";
    acme.email = "me@example.org";
  };

  # A machine's configuration: `fmd` are settings of the module over the minimal
  # ones, `elsewhere` everything else that somebody set.
  machineWith =
    {
      fmd ? { },
      elsewhere ? { },
    }:
    let
      given = lib.mkMerge [
        minimal
        fmd
      ];
      settings = lib.mkMerge [
        (lib.defaultsOf ((options.settings.type.getSubOptions or (_: { })) [ ]))
        shared.fmdServer
        (given.settings or { })
      ];
      options = optionsFor config;
      config = lib.mkMerge [
        machine
        {
          services = {
            nginx.virtualHosts.${given.hostName} = {
              listen = [ ];
              quic = false;
              forceSSL = given.tls or "acme" != "off";
            };
            fmd-stack = lib.replace (lib.defaultsOf options) given // {
              inherit settings;
            };
          };
        }
        elsewhere
      ];
    in
    config;
in
{
  inherit
    lib
    shared
    optionsFor
    machineWith
    ;

  problemsOf =
    settings:
    import (module + "/lib/problems.nix") { config = machineWith settings; };

  # What the module adds to that machine.
  addedTo =
    settings:
    lib.configOf
      {
        inherit lib pkgs;
        config = machineWith settings;
      }
      [
        (module + "/fmd-server.nix")
        (module + "/nginx.nix")
        (module + "/fail2ban.nix")
        (module + "/backup.nix")
      ];
}
