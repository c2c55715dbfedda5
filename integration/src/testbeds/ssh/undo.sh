# Puts back what a scenario changed on this node. Arguments: the run's folder, and
# `still` to end the run's programs only, or `first` to do all of it so that it can
# be done again, and `again`. A jail that is restarted to forget what it counted
# reads its journal's newest entry once more: the second time that is no failure
# any more, since the clients have removed their accounts meanwhile. And it
# restores bans, so these are lifted after it.
#
# scenario/ holds what is to be done once, always/ what is done every time, last/
# what the suite does itself while it lives; each is a folder with a script and
# its input. The newest comes first.
dir=$1
status=0
# Clients still at it.
for exe in /proc/[0-9]*/exe; do
  if [ "$exe" -ef "$dir/fmd-stack" ]; then
    pid=${exe#/proc/}
    kill -9 "${pid%/exe}" 2>/dev/null || true
  fi
done
[ "${2:-}" != still ] || exit 0
kinds="scenario always"
case ${2:-} in
  first) kinds="scenario always last" ;;
  again) kinds="scenario last always" ;;
esac
for kind in $kinds; do
  for task in $(ls -r "$dir/$kind"); do
    here=$dir/$kind/$task
    if sh "$here/run" <"$here/input" >/dev/null 2>"$dir/errors"; then
      [ "$kind" != scenario ] || [ "${2:-}" = first ] || rm -rf "$here"
    else
      status=1
      echo "$task: $(tail -n 3 "$dir/errors")" >&2
    fi
  done
done
exit "$status"
