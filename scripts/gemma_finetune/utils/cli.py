"""How a script ends: a user's mistake is one plain message and exit status 1, never a traceback."""

import sys
from collections.abc import Callable
from pathlib import Path

from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.params import unchanged_params

# {advice: the words with which the system and the libraries report that limit of the machine}
_LIMITS = {
    "the disk is full: free some space": (
        "No space left",
        "os error 28",
        "Disk quota exceeded",
        "File too large",
    ),
    "the disk is read-only: mount it for writing": ("Read-only file system", "os error 30"),
    "not permitted: check who owns the file": (
        "Permission denied",
        "os error 13",
        "Operation not permitted",
    ),
    "not enough memory: close other programs, or use a larger machine": (
        "MemoryError",
        "RESOURCE_EXHAUSTED",
        "bad_alloc",
        "BrokenProcessPool",
        "start new thread",
        "annot allocate memory",
        "an't allocate memory",
        "ut of memory",
        "failed to map segment",
    ),
}


def run(main: Callable[[], None], arguments: int | None = 0) -> None:
    """Calls `main`, and turns what a person can act on into one line and an exit status.

    - UserError, a full disk, missing rights or too little memory: `error: …` and status 1.
    - Ctrl-C: `interrupted` and status 130.
    - Any other exception is a bug and keeps its traceback.

    `arguments`: how many the script takes on its command line, not counting -h and --help.
    None: the script parses its command line itself, and is not a stage. A stage fails if one
    of its parameters has changed by its end.
    """
    try:
        if arguments is None:
            main()
        elif not _asks_for_help(arguments):
            with unchanged_params(Path(sys.argv[0]).name):
                main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = _explain_limit(error)
        if message is None:
            raise
        sys.exit(f"error: {message}")


def _explain_limit(error: Exception) -> str | None:
    """What to tell the user if disk, rights or memory ran out; None for any other error."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for advice, signs in _LIMITS.items():
        if any(sign in text for sign in signs):
            return f"{advice}; nothing was left half-written ({text[:300]})"
    return None


def _asks_for_help(arguments: int) -> bool:
    """Prints the script's docstring if --help was given.

    UserError for a wrong number of arguments.
    """
    script, *found = sys.argv
    usage = (sys.modules["__main__"].__doc__ or "").strip()
    if {"-h", "--help"} & set(found):
        print(usage)
        return True
    if len(found) != arguments:
        name = Path(script).name
        raise UserError(f"{name}: expected arguments: {arguments}, given: {len(found)}\n\n{usage}")
    return False
