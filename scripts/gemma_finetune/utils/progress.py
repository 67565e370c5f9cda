"""Progress bars that never stand still: each says what is going on, and for how long.

A bar is drawn anew every few seconds even while its step lasts (XLA compiles for a minute before
the first step ends), and also in a block that discards standard error (utils/quiet.py).
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

from tqdm import tqdm

SECONDS = 5.0  # between two drawings, at most
ELAPSED = "{desc}: {elapsed}"
# Copies its input to standard error. After silence, it draws the start of the last line again.
_RELAY = """
import os, select, sys
seconds, last, silent = float(sys.argv[1]), "", 0.0
while True:
    if select.select([0], [], [], seconds)[0]:
        data = os.read(0, 65536)
        if not data:
            break
        os.write(2, data)
        last, silent = data.decode(errors="replace").rpartition("\\r")[2], 0.0
    elif last.strip():
        silent += seconds
        line = f"{last.partition('|')[0]} busy for {silent:.0f} s"
        os.write(2, ("\\r" + line.ljust(len(last))).encode())
"""

Item = TypeVar("Item")


class Bar(tqdm):
    """tqdm's bar, drawn anew every few seconds by a thread until it is closed.

    stream: where it is drawn, and which it closes; standard error unless given.
    """

    def __init__(self, *args: Any, stream: IO[str] | None = None, **settings: Any) -> None:
        self._closed = threading.Event()
        self._stream = stream or _standard_error()
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


def _standard_error() -> IO[str]:
    """Standard error as it is now, for good: not where a block redirects it later."""
    if sys.stderr is not sys.__stderr__:  # a test looks on
        return sys.stderr
    return open(os.dup(2), "w", encoding="utf-8", errors="replace")


@contextmanager
def relay() -> Iterator[IO[str]]:
    """A stream to standard error for a bar over work that holds Python's lock for long.

    No thread can draw then, so a process does: `convert: 60% busy for 15 s`. It ends with the
    stream, however this process ends.
    """
    command = [sys.executable, "-I", "-S", "-c", _RELAY, str(1.5 * SECONDS)]
    # A session of its own: Ctrl-C is for this process.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )
    assert process.stdin
    try:
        with process.stdin as stream:
            yield stream
    finally:
        process.wait()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Says what the block does and for how long; for work that cannot count its steps."""
    with Bar(desc=what, bar_format=ELAPSED, leave=False):
        yield


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """`items`, with a bar that counts them."""
    with Bar(items, desc=what, total=total, leave=False) as bar:
        yield from bar
