# flake.nix and flake.lock, as far as they can be read without fetching.
{ expect }:
let
  root = ../../..;
  flake = import (root + "/flake.nix");
  lock = builtins.fromJSON (builtins.readFile (root + "/flake.lock"));
  lineCount = builtins.length (
    builtins.filter builtins.isList (builtins.split "\n" (builtins.readFile (root + "/flake.nix")))
  );

  lockedInputs = lock.nodes.${lock.root}.inputs;
  nodeOf = name: lock.nodes.${lockedInputs.${name}};

  # As `nix flake lock` writes an input of type github.
  isPinned =
    { locked, original }:
    builtins.attrNames locked == [
      "lastModified"
      "narHash"
      "owner"
      "repo"
      "rev"
      "type"
    ]
    && locked.type == "github"
    && builtins.isInt locked.lastModified
    && builtins.match "sha256-[A-Za-z0-9+/]{43}=" locked.narHash != null
    && builtins.match "[0-9a-f]{40}" locked.rev != null
    && original.type == "github"
    && locked.owner == original.owner
    && locked.repo == original.repo;

  urlOf = { original, ... }: "github:${original.owner}/${original.repo}/${original.ref}";
in
[
  (expect "flake.nix has at most 60 lines" (lineCount <= 60))
  (expect "flake.lock is of version 7" (lock.version == 7 && lock.root == "root"))
  (expect "flake.lock locks the inputs of flake.nix and no others" (
    builtins.attrNames lockedInputs == builtins.attrNames flake.inputs
    && builtins.attrNames (removeAttrs lock.nodes [ lock.root ]) == builtins.attrNames flake.inputs
  ))
  (expect "the pins differ" (
    (nodeOf "nixpkgs").locked.rev != (nodeOf "nixpkgs-unstable").locked.rev
  ))
]
++ builtins.concatMap (name: [
  (expect "flake.lock pins ${name}" (isPinned (nodeOf name)))
  (expect "flake.lock has ${name} from where flake.nix wants it" (
    urlOf (nodeOf name) == flake.inputs.${name}.url
  ))
]) (builtins.attrNames lockedInputs)
