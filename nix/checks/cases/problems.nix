# Combinations that would silently not protect, and those that are fine.
{
  thin,
  expect,
  says,
}:
let
  inherit (import ../combinations.nix) fine stopped warned;

  problemsOf =
    settings:
    let
      found = thin.problemsOf settings;
    in
    {
      inherit (found) warnings;
      failing = map (one: one.message) (builtins.filter (one: !one.assertion) found.assertions);
    };

  # One setting, one message, and the way out in it.
  is = wayOut: messages: builtins.length messages == 1 && says wayOut (builtins.head messages);
in
[
  (expect "stopped, with the way out: no journal, as NixOS 26.11 writes it" (
    is "\"persistent\"" (problemsOf {
      elsewhere.services.journald.settings.Journal.Storage = "none";
    }).failing
  ))
]
++ map (
  { name, settings }:
  expect "no problem with ${name}" (
    problemsOf settings == {
      failing = [ ];
      warnings = [ ];
    }
  )
) fine
++ map (
  {
    name,
    settings,
    wayOut,
  }:
  expect "stopped, with the way out: ${name}" (is wayOut (problemsOf settings).failing)
) stopped
++ map (
  {
    name,
    settings,
    wayOut,
  }:
  expect "warned of, with the way out: ${name}" (
    (problemsOf settings).failing == [ ] && is wayOut (problemsOf settings).warnings
  )
) warned
