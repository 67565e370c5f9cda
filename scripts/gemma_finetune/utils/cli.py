"""How a script ends: a user's mistake is one plain message and exit status 1, never a traceback."""

import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# Advice: how the system and the libraries say that the machine gives no more.
_LIMITS = {
    "the disk is full: free some of it": ("No space left", "os error 28", "Disk quota exceeded", "File too large"),
    "the disk can only be read: have it mounted for writing": ("Read-only file system", "os error 30"),
    "not permitted: see whose file it is": ("Permission denied", "os error 13", "Operation not permitted"),
    "not enough memory: close other programs, or use a larger machine": (
        *("MemoryError", "RESOURCE_EXHAUSTED", "bad_alloc", "BrokenProcessPool", "start new thread"),
        *("annot allocate memory", "an't allocate memory", "ut of memory", "failed to map segment"),
    ),
}

# GB of addresses that a script's libraries map, most of them never used; with fewer they crash, or try for ever.
_ADDRESSES = {"base": 4, "train": 4, "merge": 4, "tflite": 8, "evaluate": 4}


class UserError(Exception):
    """A mistake the user can mend. The message says where, what was found, and what to do."""


def end_at_once_while_loading() -> None:
    """Makes Ctrl-C end a script of ours without a word until it calls `run`: there is nothing to clean up yet.

    As an exception it would be a traceback from deep inside a library, or whatever that library makes of it.
    """
    if _runs_ours() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def explain_limits() -> None:
    """Makes a full disk or memory end a script of ours with one plain message, wherever it is noticed."""
    if _runs_ours():
        sys.excepthook = _explain


def refuse_few_addresses() -> None:
    """Ends a script of ours with one plain message where `ulimit -v` leaves its libraries too little to load."""
    needed, limit = _ADDRESSES.get(_runs_ours(), 0), resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < needed << 30:
        sys.exit(
            f"error: this process may map {limit / (1 << 30):.1f} GB of addresses (ulimit -v) and its libraries need "
            f"{needed}, most of them never used; lift that limit, and limit memory itself if need be (a container, "
            "systemd-run -p MemoryMax=…)"
        )


def _runs_ours() -> str:
    """The name of the script of ours that runs, if one does."""
    script = Path(getattr(sys.modules["__main__"], "__file__", None) or "-")
    return script.stem if script.resolve().parent == Path(__file__).resolve().parents[2] else ""


def _explain(kind, error, trace):
    said = " ".join(f"{kind.__name__}: {error}".split())
    advice = next((advice for advice, signs in _LIMITS.items() if any(sign in said for sign in signs)), None)
    if advice is None or not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {advice}; nothing was left half-written ({said[:300]})", file=sys.stderr)


def run(main: Callable[[], None], arguments: int | None = 0) -> None:
    """Calls `main`; prints a UserError as `error: …` and exits with 1; Ctrl-C exits with 130.

    `arguments`: how many the script takes on its command line, -h and --help apart; None: it reads them itself.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if arguments is None or not _asks_for_help(arguments):
            main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _asks_for_help(arguments):
    """Prints what the script says of itself, if that is asked for. UserError for the wrong number of arguments."""
    script, *given = sys.argv
    usage = (sys.modules["__main__"].__doc__ or "").strip()
    if {"-h", "--help"} & set(given):
        print(usage)
        return True
    if len(given) != arguments:
        raise UserError(f"{Path(script).name} takes {arguments} arguments, not {len(given)}\n\n{usage}")
    return False
