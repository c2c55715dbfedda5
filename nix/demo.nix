# A virtual machine to look at: `nix run .#demo-vm` boots it, and its port 80 is
# http://localhost:8080 on this machine.
{ pkgs, module }:
pkgs.nixos (
  { config, modulesPath, ... }:
  {
    imports = [
      module
      "${modulesPath}/virtualisation/qemu-vm.nix"
    ];

    services.fmd-stack = {
      enable = true;
      hostName = "localhost";
      # The machine is reachable from yours alone.
      tls = "off";
      backup.enable = true;
    };

    networking.hostName = "fmd-demo";
    networking.nftables.enable = true;

    virtualisation = {
      graphics = false;
      forwardPorts = [
        {
          from = "host";
          host = {
            address = "127.0.0.1";
            port = 8080;
          };
          guest.port = 80;
        }
      ];
    };

    services.getty = {
      autologinUser = "root";
      helpLine = ''
        FMD Server: http://localhost:8080 on your machine. Log in there with wrong
        passwords until nothing answers any more, then look at it from here:

          fail2ban-client status fmd-server
          nft list table inet f2b-fmd-server
          fail2ban-client unban --all

        Ctrl-A X ends the virtual machine.
      '';
    };

    system.stateVersion = config.system.nixos.release;
  }
)
