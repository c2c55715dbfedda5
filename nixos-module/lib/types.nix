# Option types of the module that refuse nonsense when it is written, not when
# a daemon reads it.
{ lib }:
let
  inherit (lib) types;
  networks = import ./networks.nix;
in
{
  # Lower case: nginx compares server names that way, and ACME refuses others.
  hostName = types.strMatching "([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?" // {
    description = "host name in lower case";
  };

  email = types.strMatching "[^@[:space:]]+@[^@[:space:]]+" // {
    description = "email address";
  };

  # fail2ban's own form, without its sums ("1d 12h").
  duration = types.strMatching "[1-9][0-9]*(s|m|h|d|w|mo|y)?" // {
    description = "duration such as 10m, 6h or 3600 (seconds)";
  };

  # No host names: whoever controls the name would control the list.
  network = types.addCheck types.str networks.isNetwork // {
    description = "IP address or network in CIDR notation";
  };

  header = types.strMatching "[A-Za-z0-9-]+|proxy_protocol" // {
    description = "name of a header, or proxy_protocol";
  };

  # A path that Nix does not copy into the world-readable store.
  inherit (types) externalPath;
}
