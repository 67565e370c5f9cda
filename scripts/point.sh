# Runs one point of a grid in a clone of its own, here in ./NAME, and shares it:
#
#     bash point.sh URL NAME [OPTIONS OF dvc exp run]
#
# docs/grid.md has it on several machines, under Slurm and on Ray. LIMIT=4h stops it after that time,
# which needs GNU's timeout: macOS has it only from `brew install coreutils`.
set -euo pipefail
url=$1 name=$2
shift 2
if [ -n "${LIMIT:-}" ] && ! command -v timeout > /dev/null; then
  echo "LIMIT needs the command timeout (brew install coreutils); or leave LIMIT out" >&2
  exit 1
fi

# Runs a command, for as long as LIMIT says.
limited() {
  if [ -n "${LIMIT:-}" ]; then timeout "$LIMIT" "$@"; else "$@"; fi
}

[ -d "$name" ] || git clone --quiet "$url" "$name"
cd "$name"

# Left by a run that ended before its figures were shared: the stages themselves come from the cache.
dvc exp remove --quiet "$name" 2> /dev/null || true

status=0
limited dvc exp run --pull --allow-missing --name "$name" "$@" || status=$?

python scripts/share.py # the stages that ended, even if not all did
[ $status = 0 ] || exit $status
dvc exp push --no-cache origin "$name" # its figures; share.py pushed the files
