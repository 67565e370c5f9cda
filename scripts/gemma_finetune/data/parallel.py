"""Maps a function over chunks of rows on all cores, in order, with few chunks in memory."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from tqdm import tqdm

CHUNK_ROWS = 1000
CHUNK_BYTES = 4 << 20
WORTH_IT = 8  # chunks; fewer are done before a second process has started


def chunks(rows: Iterable, size: Callable = len) -> Iterator[list]:
    """Lists of at most CHUNK_ROWS rows and about CHUNK_BYTES; `size` is a row's length in bytes."""
    chunk, total = [], 0
    for row in rows:
        chunk.append(row)
        total += size(row)
        if len(chunk) == CHUNK_ROWS or total >= CHUNK_BYTES:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def map_ordered(function: Callable, items: Iterable[list]) -> Iterator:
    """`map(function, items)` over chunks, on all cores, with a progress bar that counts rows.

    With fewer than WORTH_IT chunks, everything runs in this process.
    """
    items = _with_progress(items)
    head = list(islice(items, WORTH_IT))
    workers = _count_cores()
    if len(head) < WORTH_IT or workers == 1:
        yield from map(function, head)
        yield from map(function, items)
        return

    # Spawned, not forked: a fork copies locks that other threads (Rayon's, JAX's) hold, but not
    # the threads that would release them.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        pending = deque(pool.submit(function, item) for item in head)
        for item in items:
            pending.append(pool.submit(function, item))
            yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_progress(items: Iterable[list]) -> Iterator[list]:
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(unit=" rows", unit_scale=True, delay=2, disable=None) as bar:
        for item in items:
            yield item
            bar.update(len(item))
