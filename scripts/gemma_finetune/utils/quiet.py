"""Libraries that talk while they load. Compiled code writes to the process's standard error, past Python's."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_unless_it_fails() -> Iterator[None]:
    """Holds back standard error; shows it after all if the block raises. A process that dies in the block is silent."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            with open(terminal, "wb", closefd=False) as shown:
                shutil.copyfileobj(held, shown)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
