# Stands on a node for as long as a run lasts, and puts things back when the run
# ends: its standard input is a pipe that closes with the suite, however that
# ends, or with the connection.
#
# Arguments: the undo script; seconds after which it is done a second time, or 0.
# Prints the folder it made, in which programs can be run.
umask 077
trap '' HUP INT TERM
dir=
for base in "${TMPDIR:-/tmp}" /var/tmp /run "${HOME:-/root}"; do
  dir=$(mktemp -d "$base/fmd-stack.XXXXXX" 2>/dev/null) || continue
  printf '#!/bin/sh\n' >"$dir/probe"
  chmod 700 "$dir/probe"
  "$dir/probe" 2>/dev/null && break
  rm -rf "$dir"
  dir=
done
if [ -z "$dir" ]; then
  echo "no folder here takes a program: tried TMPDIR, /tmp, /var/tmp, /run and HOME" >&2
  exit 1
fi
mkdir "$dir/scenario" "$dir/always" "$dir/last"
printf '%s\n' "$1" >"$dir/undo"
echo "$dir"
cat >/dev/null
status=0
turn=
if [ ! -e "$dir/clean" ]; then
  if [ "$2" != 0 ]; then
    # What was under way when the suite ended comes to rest: a command still
    # running here, failures that are about to become bans. fail2ban writes a ban
    # to its database a while after it stands, so that a jail may restore one
    # that has just been lifted: the second time lifts that.
    sh "$dir/undo" "$dir" first 2>/dev/null
    sleep "$2"
    turn=again
  fi
  sh "$dir/undo" "$dir" $turn || status=1
fi
rm -rf "$dir"
exit "$status"
