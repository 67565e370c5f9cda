"""Maps a function over chunks of rows on all cores, in order, with few chunks in memory.

The cores are those of this machine, or of a Ray cluster.
"""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice

from tqdm import tqdm

from gemma_finetune.utils import ray_cluster
from gemma_finetune.utils.machine import count_cores

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
    """`map(function, items)` over chunks, in parallel, with a progress bar that counts rows.

    Where RAY_ADDRESS is set, the chunks run on that Ray cluster, else on the cores of this machine.
    With fewer than WORTH_IT chunks, everything runs in this process.
    """
    items = _with_progress(items)
    head = list(islice(items, WORTH_IT))
    cluster = bool(os.environ.get("RAY_ADDRESS"))
    workers = count_cores()
    if len(head) < WORTH_IT or (workers == 1 and not cluster):
        yield from map(function, head)
        yield from map(function, items)
        return

    ahead = ray_cluster.AHEAD if cluster else max(WORTH_IT, 2 * workers)
    start = ray_cluster.submitter if cluster else _local_submitter
    with start(function) as submit:
        pending: deque[Callable] = deque()
        for item in chain(head, items):
            if len(pending) >= ahead:
                wait = pending.popleft()
                yield wait()
            pending.append(submit(item))
        while pending:
            wait = pending.popleft()
            yield wait()


@contextmanager
def _local_submitter(function: Callable) -> Iterator[Callable[[list], Callable]]:
    """`ray_cluster.submitter` with one process for each core of this machine."""
    # Spawned, not forked: a fork copies locks that other threads (Rayon's, JAX's) hold, but not
    # the threads that would release them.
    context = multiprocessing.get_context("spawn")
    with _without_main_file(), ProcessPoolExecutor(count_cores(), context) as pool:
        yield lambda chunk: pool.submit(function, chunk).result


@contextmanager
def _without_main_file() -> Iterator[None]:
    """Keeps processes that start in the block from importing the script that runs.

    They get functions of the package. The script may import what these do not need, such as JAX.
    """
    main = vars(sys.modules["__main__"])
    file = main.pop("__file__", None)
    try:
        yield
    finally:
        if file:
            main["__file__"] = file


def _with_progress(items: Iterable[list]) -> Iterator[list]:
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(unit=" rows", unit_scale=True, delay=2, disable=None) as bar:
        for item in items:
            yield item
            bar.update(len(item))
