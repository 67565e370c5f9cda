# Runs one point of a grid in a clone of its own, here in ./NAME, and shares it:
#
#     bash point.sh URL NAME [OPTIONS OF dvc exp run]
#
# docs/grid.md has it on several machines, under Slurm and on Ray. Two variables:
#
# - LIMIT=4h stops it after that time, which needs GNU's timeout: macOS has it only from
#   `brew install coreutils`.
# - COMMIT is the commit to run, in full. Without it: the one that a clone of URL has.
set -euo pipefail

# A function, because bash may read this file from its standard input, as commands do.
main() {
  check_arguments "$@"
  local url=$1 name=$2 status=0
  shift 2
  enter_clone "$url" "$name"

  # Left by a run that ended before its figures were shared: the stages come from the cache.
  dvc exp remove --quiet "$name" 2> /dev/null || true

  limited dvc exp run --pull --allow-missing --name "$name" "$@" || status=$?

  python scripts/share.py # the stages that ended, even if not all did
  [ $status = 0 ] || exit $status
  dvc exp push --no-cache origin "$name" # its figures; share.py pushed the files
}

check_arguments() {
  [ $# -ge 2 ] || fail "usage: bash point.sh URL NAME [OPTIONS OF dvc exp run]"
  [[ $2 =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
    fail "'$2' names a folder and an experiment: use letters, digits, '.', '_' and '-' alone"
  [[ ${COMMIT:-none} =~ ^(none|[0-9a-f]{40})$ ]] ||
    fail "COMMIT=$COMMIT: write the commit in full, as \`git rev-parse\` prints it"
  [ -z "${LIMIT:-}" ] || command -v timeout > /dev/null ||
    fail "LIMIT needs the command timeout (brew install coreutils); or leave LIMIT out"
}

# Changes to the clone ./NAME, which has the wanted commit and its parameters.
enter_clone() {
  local url=$1 name=$2 wanted=${COMMIT:-} found
  if [ ! -e "$name" ]; then
    # Under a name that no run has, so that ./NAME is never a clone that was cut short.
    rm -rf ".$name.part"
    git clone --quiet "$url" ".$name.part"
    [ -z "$wanted" ] || git -C ".$name.part" checkout --quiet "$wanted" 2> /dev/null || {
      rm -rf ".$name.part"
      fail "COMMIT=$wanted: $url has no such commit"
    }
    mv ".$name.part" "$name"
  fi
  [ -e "$name/.git" ] || fail "./$name is there and is no clone: choose another folder or name"

  # A clone of an earlier run. With other code, it would be another point of the same name.
  [ -n "$wanted" ] || wanted=$(git ls-remote "$url" HEAD)
  wanted=${wanted%%[[:space:]]*}
  found=$(git -C "$name" rev-parse HEAD)
  [ "$found" = "$wanted" ] || fail "./$name has commit $found, but this run is of $wanted:" \
    "remove the folder to start anew, or set COMMIT=$found to finish what it began"

  cd "$name"
  git checkout --quiet HEAD -- params.yaml # an earlier run's -S changed it
}

# Runs a command, for as long as LIMIT says.
limited() {
  if [ -n "${LIMIT:-}" ]; then timeout "$LIMIT" "$@"; else "$@"; fi
}

fail() {
  echo "$*" >&2
  exit 1
}

main "$@"; exit
