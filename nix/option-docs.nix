# The option reference as Markdown, from the declarations themselves:
# docs/reference/nixos-options.md is this text, and the checks compare the two.
#
# `options` is the `options` attribute of the module's own function, so that it
# can be had from nixpkgs' lib and from nix/checks/thin-lib.nix alike.
{ options }:
let
  inherit (builtins) concatStringsSep;

  isOption = value: builtins.isAttrs value && value._type or "" == "option";

  # Options in the order of their names, as { path; option; }.
  collect =
    path: tree:
    builtins.concatLists (
      map (
        name:
        let
          here = path ++ [ name ];
          value = tree.${name};
        in
        if builtins.substring 0 1 name == "_" then
          [ ]
        else if isOption value then
          [
            {
              path = here;
              option = value;
            }
          ]
          ++ collect here ((value.type.getSubOptions or (_: { })) here)
        else
          collect here value
      ) (builtins.attrNames tree)
    );

  # As Nix writes a value on one line.
  render =
    value:
    if builtins.elem (value._type or "") [
        "literalExpression"
        "literalMD"
      ]
    then
      # The last line break of an indented string is not part of the value.
      concatStringsSep "\n" (builtins.filter (line: line != "") (lines value.text))
    else if builtins.isList value then
      if value == [ ] then "[ ]" else "[ ${concatStringsSep " " (map render value)} ]"
    else if builtins.isAttrs value then
      if value == { } then
        "{ }"
      else
        let
          binding = name: "${name} = ${render value.${name}};";
        in
        "{ ${concatStringsSep " " (map binding (builtins.attrNames value))} }"
    else
      builtins.toJSON value;

  lines = text: builtins.filter builtins.isString (builtins.split "\n" text);

  # {option}`x` and its kind are nixpkgs' own Markdown; elsewhere `x` it is.
  plain =
    text:
    concatStringsSep "" (
      builtins.filter builtins.isString (builtins.split "\\{(option|file|manpage|command)}" text)
    );

  code =
    label: value:
    let
      text = render value;
    in
    if value._type or "" == "literalMD" then
      "*${label}:* ${plain value.text}\n"
    else if builtins.length (lines text) == 1 then
      "*${label}:* `${text}`\n"
    else
      "*${label}:*\n\n```nix\n${text}\n```\n";

  section =
    { path, option }:
    concatStringsSep "\n" (
      [
        "## ${concatStringsSep "." path}\n"
        (plain (trimEnd option.description) + "\n")
        "*Type:* ${option.type.description}\n"
      ]
      ++ (
        if option ? defaultText then
          [ (code "Default" option.defaultText) ]
        else if option ? default then
          [ (code "Default" option.default) ]
        else
          [ "*Required.*\n" ]
      )
      ++ (if option ? example then [ (code "Example" option.example) ] else [ ])
    );

  trimEnd =
    text:
    let
      found = builtins.match "(.*[^[:space:]])[[:space:]]*" text;
    in
    if found == null then "" else builtins.head found;
in
''
  # NixOS options

  Made from `nixos-module/default.nix` by `.ci/nix-check --write-docs`; change the
  descriptions there. [How to use them](../how-to/nixos.md).

  ${concatStringsSep "\n" (map section (collect [ ] options))}''
