# A service as systemd reads it, as far as `systemd-analyze security` and
# `verify` look at it. NixOS itself writes the real one.
service:
let
  text = value: if builtins.isBool value then builtins.toJSON value else toString value;
  line = name: value: "${name}=${text value}";
  lines =
    settings:
    builtins.concatLists (
      map (
        name:
        let
          value = settings.${name};
        in
        if builtins.isList value then map (line name) value else [ (line name value) ]
      ) (builtins.attrNames settings)
    );
in
builtins.concatStringsSep "\n" (
  [
    "[Unit]"
    "Description=${service.description}"
    "[Service]"
  ]
  ++ lines service.serviceConfig
  ++ [ "" ]
)
