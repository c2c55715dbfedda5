# Dumps FMD Server's database: backup.sh DATABASE-DIR TARGET-DIR KEEP
#
# `.backup` copies page by page under SQLite's own locks, so the copy is
# consistent while FMD Server writes; a copied file would not be. A dump appears
# under its name only when it is whole and sound.
set -euo pipefail

database=$1/fmd.sqlite
target=$2
keep=$3

if [ ! -e "$database" ]; then
  echo "fmd-stack-backup: $database is not there; has FMD Server started yet?" >&2
  exit 1
fi

name="$target/fmd-$(date --utc +%Y%m%dT%H%M%SZ).sqlite"
trap 'rm -f "$name.part" "$name.part.gz"' EXIT

# FMD Server may be writing: wait for it rather than fail.
sqlite3 -readonly -cmd '.timeout 60000' "$database" ".backup '$name.part'"

sound=$(sqlite3 "$name.part" 'PRAGMA integrity_check')
if [ "$sound" != ok ]; then
  echo "fmd-stack-backup: the dump is damaged, nothing is kept of it: $sound" >&2
  exit 1
fi

gzip "$name.part"
mv "$name.part.gz" "$name.gz"
echo "fmd-stack-backup: wrote $name.gz"

# The oldest go. Names sort by time.
dumps=("$target"/fmd-*.sqlite.gz)
for ((old = 0; old < ${#dumps[@]} - keep; old++)); do
  rm -- "${dumps[$old]}"
done
