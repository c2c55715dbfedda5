# What has to hold without nixpkgs, from every file in cases/: a list of names,
# each with whether it holds. `.ci/nix-check` prints those that do not.
let
  thin = import ./thin.nix;

  given = {
    inherit thin;

    expect = name: holds: { inherit name holds; };

    # Whether a message has these words (a regular expression), wherever its
    # lines break.
    says =
      words: message:
      builtins.match ".*${words}.*" (builtins.replaceStrings [ "\n" ] [ " " ] message) != null;
  };

  casesIn =
    file:
    let
      cases = import (./cases + "/${file}");
    in
    cases (builtins.intersectAttrs (builtins.functionArgs cases) given);
in
{
  cases = builtins.concatMap casesIn (builtins.attrNames (builtins.readDir ./cases));

  docs = import ../option-docs.nix {
    options.services.fmd-stack = thin.optionsFor { };
  };

  # Unit files by name, for `systemd-analyze`.
  units =
    let
      inherit
        (thin.addedTo {
          fmd = {
            registrationTokenFile = "/run/secrets/token";
            backup.enable = true;
          };
        })
        systemd
        ;
      unitText = import ./unit-text.nix;
    in
    {
      "fmd-server.service" = unitText systemd.services.fmd-server;
      "fmd-stack-backup.service" = unitText systemd.services.fmd-stack-backup;
    };
}
