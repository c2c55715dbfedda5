# Option types of the module that refuse nonsense when it is written, not when
# a daemon reads it.
{ lib }:
let
  inherit (lib) types;
  networks = import ./networks.nix;

  # A type with a description of its own, for the reference and for errors.
  described = description: type: type // { inherit description; };
in
{
  inherit described;

  # Lower case: nginx compares server names that way, and ACME refuses others.
  hostName = described "host name in lower case" (
    types.strMatching "([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?"
  );

  email = described "email address" (types.strMatching "[^@[:space:]]+@[^@[:space:]]+");

  # fail2ban's own form, without its sums ("1d 12h").
  duration = described "duration such as 10m, 6h or 3600 (seconds)" (
    types.strMatching "[1-9][0-9]*(s|m|h|d|w|mo|y)?"
  );

  # No host names: whoever controls the name would control the list.
  network = described "IP address or network in CIDR notation" (
    types.addCheck types.str networks.isNetwork
  );

  header = described "name of a header, or proxy_protocol" (
    types.strMatching "[A-Za-z0-9-]+|proxy_protocol"
  );

  # Not in the store, where everybody could read it, and nothing that means
  # something else in a unit, in nginx.conf or in a jail.
  filePath = described "absolute path not in the Nix store, without special characters" (
    types.addCheck types.externalPath (path: builtins.match "[A-Za-z0-9/@._+-]+" path != null)
  );

  account = described "name of a user or group" (types.strMatching "[a-zA-Z_][a-zA-Z0-9_.-]*");

  addressAndPort = described "address and port, or empty" (
    types.strMatching "(([A-Za-z0-9.-]*|\\[[0-9A-Fa-f:.]+]):[0-9]{1,5})?"
  );
}
