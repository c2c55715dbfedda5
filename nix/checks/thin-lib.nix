# As much of nixpkgs' lib as nixos-module/ uses, so that the checks can evaluate
# it on a machine without nixpkgs. Names and descriptions are nixpkgs' own.
#
# A module evaluates to what it would add: mkIf and mkMerge are carried out at
# once and priorities are dropped. Whether definitions agree with those of
# nixpkgs' modules shows only with nixpkgs (nix/checks/nixpkgs.nix).
let
  inherit (builtins)
    all
    attrNames
    concatStringsSep
    elem
    foldl'
    isAttrs
    isBool
    isInt
    isList
    isString
    listToAttrs
    match
    stringLength
    substring
    ;

  absent = {
    _type = "absent";
  };
  isAbsent = value: isAttrs value && value._type or "" == "absent";

  # Both definitions, the way the module system joins what both may set.
  join =
    one: other:
    if isAbsent other then
      one
    else if isAbsent one then
      other
    else if isAttrs one && isAttrs other && one.type or "" != "derivation" then
      let
        joined = name: value: if one ? ${name} then join one.${name} value else value;
      in
      one // builtins.mapAttrs joined other
    else if isList one && isList other then
      one ++ other
    else
      other;

  # Without the parts that an mkIf has left out.
  prune =
    value:
    if isAttrs value && value.type or "" != "derivation" then
      listToAttrs (
        map (name: {
          inherit name;
          value = prune value.${name};
        }) (builtins.filter (name: !isAbsent value.${name}) (attrNames value))
      )
    else
      value;

  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;

  # As nixpkgs sets brackets in the description of a type made of types.
  phrase =
    plain: type:
    if elem (type.descriptionClass or null) plain then
      type.description
    else
      "(${type.description})";

  noun = description: check: {
    inherit description check;
    descriptionClass = "noun";
  };

  isPath = value: builtins.isPath value || (isString value && hasPrefix "/" value);

  types = rec {
    bool = noun "boolean" isBool;
    str = noun "string" isString;
    path = noun "absolute path" isPath;
    externalPath = noun "absolute path not in the Nix store" (
      value: isString value && isPath value && !hasPrefix builtins.storeDir value
    );
    package = noun "package" (value: value.type or "" == "derivation");
    port = noun "16 bit unsigned integer; between 0 and 65535 (both inclusive)" (
      value: isInt value && value >= 0 && value <= 65535
    );
    ints.positive = {
      description = "positive integer, meaning >0";
      descriptionClass = "nonRestrictiveClause";
      check = value: isInt value && value > 0;
    };
    strMatching =
      pattern:
      noun "string matching the pattern ${pattern}" (
        value: str.check value && match pattern value != null
      );
    enum = values: {
      description = "one of ${concatStringsSep ", " (map builtins.toJSON values)}";
      descriptionClass = "conjunction";
      check = value: elem value values;
    };
    nullOr = type: {
      description = "null or ${
        phrase [
          "noun"
          "conjunction"
        ] type
      }";
      descriptionClass = "conjunction";
      check = value: value == null || type.check value;
    };
    listOf = type: {
      description = "list of ${
        phrase [
          "noun"
          "composite"
        ] type
      }";
      descriptionClass = "composite";
      check = value: isList value && all type.check value;
    };
    nonEmptyListOf = type: {
      description = "non-empty ${phrase [ "noun" ] (listOf type)}";
      descriptionClass = "composite";
      check = value: (listOf type).check value && value != [ ];
    };
    addCheck = type: check: type // { check = value: type.check value && check value; };
    submodule = module: {
      description = "submodule";
      descriptionClass = "noun";
      check = isAttrs;
      getSubOptions = _: module.options;
    };
  };
in
rec {
  inherit types hasPrefix;

  mkOption = attributes: { _type = "option"; } // attributes;
  mkEnableOption =
    name:
    mkOption {
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
      type = types.bool;
    };
  mkPackageOption =
    pkgs: name: _:
    mkOption {
      default = pkgs.${name};
      defaultText = literalExpression "pkgs.${name}";
      description = "The ${name} package to use.";
      type = types.package;
    };
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };

  mkIf = condition: content: if condition then content else absent;
  mkMerge = foldl' join absent;
  mkDefault = value: value;

  # Defaults with what was given instead of some: lists are not joined.
  replace =
    defaults: given:
    if isAttrs defaults && isAttrs given then
      defaults
      // builtins.mapAttrs (
        name: value: if defaults ? ${name} then replace defaults.${name} value else value
      ) given
    else
      given;

  # The configuration that some modules add, given the arguments of a module.
  configOf =
    arguments: modules: prune (mkMerge (map (module: (import module arguments).config) modules));

  # The defaults of options, at their paths. An option that has to be given is
  # not there. No default is looked at: one may depend on another.
  defaultsOf =
    options:
    let
      isOption = name: options.${name}._type or "" == "option";
      hasDefault = name: !isOption name || options.${name} ? default;
    in
    genAttrs (builtins.filter hasDefault (attrNames options)) (
      name: if isOption name then options.${name}.default else defaultsOf options.${name}
    );

  inherit (builtins)
    attrValues
    concatStringsSep
    mapAttrs
    ;
  filterAttrs =
    keep: attributes:
    removeAttrs attributes (
      builtins.filter (name: !keep name attributes.${name}) (attrNames attributes)
    );
  concatMapStrings = render: list: concatStringsSep "" (map render list);
  concatMapStringsSep =
    separator: render: list:
    concatStringsSep separator (map render list);
  escapeShellArgs = concatMapStringsSep " " (text: "'${toString text}'");
  genAttrs =
    names: make:
    listToAttrs (
      map (name: {
        inherit name;
        value = make name;
      }) names
    );
  getExe = package: "${package}/bin/${package.meta.mainProgram}";
  optional = condition: value: if condition then [ value ] else [ ];
  optionalAttrs = condition: value: if condition then value else { };
  removePrefix =
    prefix: text:
    if hasPrefix prefix text then
      substring (stringLength prefix) (stringLength text) text
    else
      text;
  unique = foldl' (found: value: if elem value found then found else found ++ [ value ]) [ ];
}
