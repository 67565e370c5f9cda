"""Libraries that talk while they load or leave. Compiled code writes to the process's standard
error, past Python's.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def quiet() -> Iterator[None]:
    """Throws standard error away."""
    with open(os.devnull, "wb") as sink, _stderr_into(sink):
        yield


@contextmanager
def quiet_unless_it_fails() -> Iterator[None]:
    """Holds back standard error; shows it after all if the block raises. A process that dies in the
    block is silent.
    """
    with tempfile.TemporaryFile() as held:
        try:
            with _stderr_into(held):
                yield
        except BaseException:
            held.seek(0)
            with open(2, "wb", closefd=False) as shown:
                shutil.copyfileobj(held, shown)
            raise


def quiet_at_exit() -> None:
    """Throws away what libraries say as the process ends, when Python itself has said all it had
    to.
    """
    atexit.register(_throw_away)


def _throw_away():
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)


@contextmanager
def _stderr_into(file: IO[bytes]) -> Iterator[None]:
    sys.stderr.flush()
    saved = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
