# Reading the shared tree, and addresses as text.
{ thin, expect }:
let
  inherit (thin) shared;
  networks = import ../../../nixos-module/lib/networks.nix;

  parsed = [
    (expect "octal, negative and plain values of config.yml" (
      shared.parseYaml "A: 0660\nB: -1\n# c\n\nC: 'x y'\nD: true\nE: a:b"
      == {
        A = 432;
        B = -1;
        C = "x y";
        D = true;
        E = "a:b";
      }
    ))
    (expect "a nested config.yml is an error" (
      !(builtins.tryEval (builtins.deepSeq (shared.parseYaml "A:\n  B: 1") null)).success
    ))
    (expect "sections and continued lines of a jail" (
      shared.parseIni "[a]\nk = 1\n  2\n; no\n[b]\nk=x=y"
      == {
        a.k = "1\n2";
        b.k = "x=y";
      }
    ))
  ]
  ++ map (text: expect "a network: ${text}" (networks.isNetwork text)) [
    "192.0.2.1"
    "0.0.0.0/0"
    "10.0.0.0/8"
    "::"
    "::1"
    "1::"
    "2001:db8::/32"
    "2001:db8:0:0:0:0:0:1/64"
  ]
  ++ map (text: expect "not a network: ${text}" (!networks.isNetwork text)) [
    ""
    "a"
    "1.2.3"
    "1.2.3.256"
    "1.2.3.4/33"
    "1.2.3.4/"
    "::1/129"
    "1:2"
    ":::"
    "1::2::3"
    "1:"
    ":1:2:3:4:5:6:7"
    "12345::"
    "1:2:3:4:5:6:7:8:9"
    "fmd.example.org"
  ];
in
parsed
