# Addresses and networks as text. Plain builtins: the checks evaluate this file
# without nixpkgs.
let
  inherit (builtins) all;

  split =
    separator: text: builtins.filter builtins.isString (builtins.split separator text);

  count = separator: text: builtins.length (split separator text) - 1;

  # "203.0.113.0/24" as { address = "203.0.113.0"; length = 24; }; the length
  # of a lone address is null.
  parts =
    text:
    let
      found = builtins.match "([^/]+)(/([0-9]{1,3}))?" text;
      length = builtins.elemAt found 2;
    in
    if found == null then
      null
    else
      {
        address = builtins.head found;
        length = if length == null then null else decimal length;
      };

  # Leading zeros are not JSON.
  decimal =
    digits: builtins.fromJSON (builtins.head (builtins.match "0*([0-9]+)" digits));

  isV4Address =
    text:
    let
      bytes = builtins.match "([0-9]{1,3})\\.([0-9]{1,3})\\.([0-9]{1,3})\\.([0-9]{1,3})" text;
    in
    bytes != null && all (byte: decimal byte <= 255) bytes;

  isV6Address =
    text:
    let
      groups = split ":" text;
      given = builtins.filter (group: group != "") groups;
      shortened = count "::" text;
    in
    builtins.match "[0-9A-Fa-f:]{2,39}" text != null
    && builtins.match "(.*[^:])?:|:[^:].*|.*:::.*" text == null
    && all (group: builtins.stringLength group <= 4) given
    && (
      if shortened == 0 then
        builtins.length given == 8
      else
        shortened == 1 && builtins.length given <= 7
    );

  fits = length: most: length == null || length <= most;
in
rec {
  isV4 =
    text:
    let
      network = parts text;
    in
    network != null && isV4Address network.address && fits network.length 32;

  isV6 =
    text:
    let
      network = parts text;
    in
    network != null && isV6Address network.address && fits network.length 128;

  # An IPv4 or IPv6 address, alone or with a prefix length.
  isNetwork = text: isV4 text || isV6 text;

  # Whether a network holds so much of the internet that believing it or never
  # banning it means everybody: wider than a /8, or than a /16 of IPv6
  # (2000::/3 is all of today's; the widest that one holder has is a /19).
  coversTheWorld =
    text:
    let
      inherit (parts text) length;
    in
    length != null && (if isV4 text then length < 8 else length < 16);
}
