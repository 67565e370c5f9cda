"""How a script ends: a user's mistake is one plain message and exit status 1, never a traceback."""

import sys
from collections.abc import Callable
from pathlib import Path

# Advice for a person -> the words with which the system and the libraries say that the machine is
# at its limit.
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


class UserError(Exception):
    """A mistake the user can mend. The message says where, what was found, and what to do."""


def run(main: Callable[[], None], arguments: int | None = 0) -> None:
    """Calls `main` and turns what a person can act on into one line and an exit status.

    UserError prints `error: …` and exits with 1, a full disk or memory likewise; Ctrl-C exits with
    130. `arguments`: how many the script takes on its command line, without -h and --help. None:
    the script parses its command line itself.
    """
    try:
        if arguments is None or not _asks_for_help(arguments):
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
    """What to tell the person if `error` means that disk, rights or memory ran out; else None."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for advice, signs in _LIMITS.items():
        if any(sign in text for sign in signs):
            return f"{advice}; nothing was left half-written ({text[:300]})"
    return None


def _asks_for_help(arguments: int) -> bool:
    """Prints the script's docstring if --help was given. UserError for a wrong number of
    arguments.
    """
    script, *given = sys.argv
    usage = (sys.modules["__main__"].__doc__ or "").strip()
    if {"-h", "--help"} & set(given):
        print(usage)
        return True
    if len(given) != arguments:
        name = Path(script).name
        raise UserError(f"{name} takes {arguments} arguments, not {len(given)}\n\n{usage}")
    return False
