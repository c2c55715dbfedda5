# Three machines and the suite: a server, somebody who guesses, and somebody who
# must not notice. What is tested is in the suite; nothing of it is here.
{
  pkgs,
  module,
  suite,
}:
let
  testCertificate = pkgs.runCommand "fmd-test-certificate" { } ''
    mkdir $out
    ${pkgs.openssl}/bin/openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
      -nodes -days 36500 -subj /CN=server -addext subjectAltName=DNS:server \
      -keyout $out/privkey.pem -out $out/fullchain.pem
  '';

  # Public by design: nixpkgs' own keys for tests.
  keys = import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs;

  machine = {
    environment.systemPackages = [ suite ];
    security.pki.certificateFiles = [ "${testCertificate}/fullchain.pem" ];
    services.openssh.enable = true;
    users.users.root.openssh.authorizedKeys.keys = [ keys.snakeOilPublicKey ];
  };
in
{
  defaults = machine;

  nodes = {
    server = {
      imports = [ module ];
      _module.args.testCertificate = testCertificate;

      services.fmd-stack = {
        enable = true;
        hostName = "server";
      };

      # The suite runs here and reaches every machine, this one too, by ssh.
      environment.etc."ssh/test-key" = {
        source = keys.snakeOilPrivateKey;
        mode = "0600";
      };
      programs.ssh.extraConfig = ''
        Host server attacker bystander
          IdentityFile /etc/ssh/test-key
          StrictHostKeyChecking no
          UserKnownHostsFile /dev/null
          LogLevel ERROR
      '';
    };
    attacker = { };
    bystander = { };
  };

  testScript =
    { nodes, ... }:
    let
      scheme = if nodes.server.services.fmd-stack.tls == "off" then "http" else "https";
    in
    ''
      start_all()
      for machine in machines:
          machine.wait_for_open_port(22)
      server.wait_for_unit("fail2ban.service")
      server.wait_for_unit("nginx.service")
      server.wait_for_unit("fmd-server.service")

      print(server.succeed(
          "fmd-stack test --testbed ssh"
          " --server root@server --client root@attacker --client root@bystander"
          " --url ${scheme}://server"
      ))
    '';
}
