"""How a script ends: a user's mistake is one plain message and exit status 1, never a traceback."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend. The message says where, what was found, and what to do."""


def end_at_once_while_loading() -> None:
    """Makes Ctrl-C end a script of ours without a word until it calls `run`: there is nothing to clean up yet.

    As an exception it would be a traceback from deep inside a library, or whatever that library makes of it.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    ours = script and Path(script).resolve().parent == Path(__file__).resolve().parents[2]
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


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
