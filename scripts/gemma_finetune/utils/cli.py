"""How a script ends: a user's mistake is one plain message and exit status 1, never a traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend. The message says where, what was found, and what to do."""


def run(main: Callable[..., None], *args) -> None:
    """Calls `main(*args)`; prints a UserError as `error: …` and exits with 1; Ctrl-C exits with 130."""
    try:
        main(*args)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
