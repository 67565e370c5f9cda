"""How many CPU threads LiteRT and LiteRT-LM get. The one place that decides it."""

from pathlib import Path

from gemma_finetune.utils.machine import count_cores

SMALL = 64 << 20  # bytes; a decode step of a smaller model ends before a second thread wakes up
MOST = 4  # more threads gain little: decoding is bound by memory bandwidth


def thread_count(model: str | Path, setting: int | None = None) -> int:
    """`setting` (generate.threads) if there is one, else by the size of the model file.

    A small model gets one thread. Any other gets a thread for each core, four at most.
    """
    if setting:
        return setting
    if Path(model).stat().st_size < SMALL:
        return 1
    return min(MOST, count_cores())
