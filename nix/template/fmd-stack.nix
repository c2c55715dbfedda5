# What a machine says of FMD Server, beside its own configuration.nix.
{
  services.fmd-stack = {
    enable = true;
    hostName = "fmd.example.org";
    acme.email = "me@example.org";

    # Who has the token can make an account. Put one there first:
    #   install -d -m 700 /etc/secrets
    #   od -An -N16 -tx1 /dev/urandom | tr -d ' ' > /etc/secrets/fmd-token
    registrationTokenFile = "/etc/secrets/fmd-token";

    # Addresses of yours that are never banned.
    # fail2ban.ignoreIP = [ "192.0.2.10" ];

    backup.enable = true;
  };
}
