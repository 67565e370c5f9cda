"""Silences libraries that print while they load or exit.

Compiled code writes to the process's streams, past Python's `sys.stderr` and `sys.stdout`, so the
file descriptors themselves are redirected.
"""

import atexit
import ctypes
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO


@contextmanager
def quiet() -> Iterator[None]:
    """Discards standard error in the block."""
    with open(os.devnull, "wb") as sink, _redirected(2, sink):
        yield


@contextmanager
def silent() -> Iterator[None]:
    """Discards standard error and standard output in the block."""
    with quiet(), open(os.devnull, "wb") as sink, _redirected(1, sink):
        yield


@contextmanager
def quiet_unless_it_fails() -> Iterator[None]:
    """Holds back standard error in the block, and shows it if the block raises.

    If the process dies in the block, nothing is shown.
    """
    with tempfile.TemporaryFile() as held:
        try:
            with _redirected(2, held):
                yield
        except BaseException:
            held.seek(0)
            with open(2, "wb", closefd=False) as stderr:
                shutil.copyfileobj(held, stderr)
            raise


def quiet_torchao() -> None:
    """Keeps torchao, which transformers loads with a model, from warning of parts it cannot use."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def quiet_at_exit() -> None:
    """Discards what libraries print when the process ends, after Python's own last message."""
    atexit.register(_discard_stderr)


def _discard_stderr() -> None:
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)


@contextmanager
def _redirected(descriptor: int, file: IO[bytes]) -> Iterator[None]:
    _flush()
    saved = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        _flush()
        os.dup2(saved, descriptor)
        os.close(saved)


def _flush() -> None:
    """Writes out what Python and C still hold back, as far as it can be written."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk, a closed pipe: whoever prints next hears
            stream.flush()
    ctypes.CDLL(None).fflush(None)
