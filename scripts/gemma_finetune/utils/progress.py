"""Progress bars that never stand still: each says what is going on, and for how long.

A bar is drawn anew every few seconds even while its step lasts (XLA compiles for a minute before
the first step ends), and also in a block that discards standard error (utils/quiet.py).
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

SECONDS = 5.0  # between two drawings, at most
ELAPSED = "{desc}: {elapsed}"

Item = TypeVar("Item")


class Bar(tqdm):
    """tqdm's bar, drawn anew every few seconds by a thread until it is closed."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._closed = threading.Event()
        self._stream = _standard_error()
        super().__init__(*args, file=self._stream, mininterval=1, **settings)
        if not self.disable:
            threading.Thread(target=self._draw, daemon=True).start()

    def _draw(self) -> None:
        while not self._closed.wait(SECONDS):
            self.refresh()

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            super().close()
            if self._stream is not sys.stderr:
                self._stream.close()


def _standard_error() -> TextIO:
    """Standard error as it is now, for good: not where a block redirects it later."""
    if sys.stderr is not sys.__stderr__:  # a test looks on
        return sys.stderr
    return open(os.dup(2), "w", encoding="utf-8", errors="replace")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Says what the block does and for how long; for work that cannot count its steps."""
    with Bar(desc=what, bar_format=ELAPSED, leave=False):
        yield


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """`items`, with a bar that counts them."""
    with Bar(items, desc=what, total=total, leave=False) as bar:
        yield from bar
