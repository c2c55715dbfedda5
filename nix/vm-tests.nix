# Virtual machine tests: every file in tests/firewall times every file in
# tests/transport. A new file is a new row; nothing is listed here.
{
  pkgs,
  module,
  suite,
}:
let
  inherit (pkgs) lib;

  variants =
    folder:
    lib.mapAttrsToList (file: _: {
      name = lib.removeSuffix ".nix" file;
      module = folder + "/${file}";
    }) (builtins.readDir folder);

  machines = import ./vm-machines.nix { inherit pkgs module suite; };

  test =
    { firewall, transport }:
    lib.nameValuePair "vm-${firewall.name}-${transport.name}" (
      pkgs.testers.runNixOSTest {
        imports = [ machines ];
        name = "fmd-stack-${firewall.name}-${transport.name}";
        nodes.server.imports = [
          firewall.module
          transport.module
        ];
      }
    );
in
lib.listToAttrs (
  map test (
    lib.cartesianProduct {
      firewall = variants ./tests/firewall;
      transport = variants ./tests/transport;
    }
  )
)
