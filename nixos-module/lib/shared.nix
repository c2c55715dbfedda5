# Reads containers/rootfs, the configuration tree that every deployment shares,
# so that a default of an option is the value in that tree and not a copy of it.
# Plain builtins: the checks evaluate this file without nixpkgs.
let
  rootfs = ../../containers/rootfs;

  trim =
    text:
    let
      found = builtins.match "[[:space:]]*(.*[^[:space:]])[[:space:]]*" text;
    in
    if found == null then "" else builtins.head found;

  linesOf =
    text: builtins.filter (line: builtins.isString line && line != "") (builtins.split "\n" text);

  isComment = line: builtins.match "[[:space:]]*[#;].*" line != null || trim line == "";

  octal =
    digits:
    builtins.foldl' (sum: digit: sum * 8 + builtins.fromJSON digit) 0 (
      builtins.genList (at: builtins.substring at 1 digits) (builtins.stringLength digits)
    );

  # As YAML 1.1 reads a plain scalar: FMD Server's library takes 0660 as octal.
  scalar =
    text:
    let
      quoted = builtins.match "\"([^\"]*)\"|'([^']*)'" text;
      octalDigits = builtins.match "0([0-7]+)" text;
    in
    if quoted != null then
      builtins.head (builtins.filter (part: part != null) quoted)
    else if text == "true" || text == "false" then
      text == "true"
    else if octalDigits != null then
      octal (builtins.head octalDigits)
    else if builtins.match "-?[0-9]+" text != null then
      builtins.fromJSON text
    else
      text;

  # Files of `folder` and below, as names relative to it.
  filesBelow =
    folder:
    let
      entries = builtins.readDir folder;
      below =
        name:
        # What Python leaves behind in a working tree that it ran in.
        if name == "__pycache__" then
          [ ]
        else if entries.${name} == "directory" then
          map (file: "${name}/${file}") (filesBelow (folder + "/${name}"))
        else
          [ name ];
    in
    builtins.concatLists (map below (builtins.attrNames entries));
in
rec {
  inherit filesBelow rootfs;

  # A flat YAML mapping, one `Key: value` a line, as an attribute set.
  # Throws at a line of any other form, so that a nested value is never dropped.
  parseYaml =
    text:
    let
      pair =
        line:
        let
          found = builtins.match "([A-Za-z0-9_]+):[[:space:]]*(.*)" line;
        in
        if found == null then
          throw "fmd-stack: `${line}` in config.yml is not `Key: value`; it has to stay flat"
        else
          {
            name = builtins.elemAt found 0;
            value = scalar (trim (builtins.elemAt found 1));
          };
    in
    builtins.listToAttrs (map pair (builtins.filter (line: !isComment line) (linesOf text)));

  # An INI file as fail2ban writes it, as `section.key = "value"`. A line that
  # begins with a space continues the value above it.
  parseIni =
    text:
    let
      step =
        state: line:
        let
          section = builtins.match "\\[([^]]+)].*" line;
          continued = builtins.match "[[:space:]]+(.*)" line;
          pair = builtins.match "([^=[:space:]]+)[[:space:]]*=[[:space:]]*(.*)" line;
          set =
            key: value:
            state
            // {
              inherit key;
              result = state.result // {
                ${state.section} = state.result.${state.section} or { } // {
                  ${key} = value;
                };
              };
            };
        in
        if isComment line then
          state
        else if section != null then
          state // { section = builtins.head section; }
        else if continued != null then
          set state.key "${state.result.${state.section}.${state.key}}\n${trim line}"
        else if pair != null then
          set (builtins.head pair) (trim (builtins.elemAt pair 1))
        else
          throw "fmd-stack: `${line}` is not `key = value`";
    in
    (builtins.foldl' step {
      section = "";
      key = "";
      result = { };
    } (linesOf text)).result;

  fmdServer = parseYaml (builtins.readFile (rootfs + "/etc/fmd-server/config.yml"));

  fail2ban = parseIni (builtins.readFile (rootfs + "/etc/fail2ban/jail.d/fmd-server.conf"));

  # The jails that the shared tree switches on.
  jails = builtins.filter (name: fail2ban.${name}.enabled or "" == "true") (
    builtins.attrNames fail2ban
  );

  # The burst that journald lets one unit have, for units of ours: a limit for
  # the whole machine is not this module's business.
  journald =
    (parseIni (builtins.readFile (rootfs + "/etc/systemd/journald.conf.d/fmd-stack.conf"))).Journal;

  # `environment.etc` entries for every file below etc/<folder>. NixOS copies
  # each to a store path of its own: a change elsewhere in the repository
  # restarts nothing.
  etcFiles =
    folder:
    builtins.listToAttrs (
      map (file: {
        name = "${folder}/${file}";
        value.source = rootfs + "/etc/${folder}/${file}";
      }) (filesBelow (rootfs + "/etc/${folder}"))
    );
}
