"""How many CPU threads LiteRT and LiteRT-LM get. This is the one place that decides."""

import os
from pathlib import Path

SMALL = 64 << 20  # bytes; a decode step of a smaller model ends before a second thread wakes up
MOST = 4  # more threads gain little: decoding is bound by memory bandwidth


def thread_count(model: str | Path, setting: int | None = None) -> int:
    """`setting` (generate.threads) if there is one; else 1 for a small model, else up to `MOST`."""
    if setting:
        return setting
    if Path(model).stat().st_size < SMALL:
        return 1
    return min(MOST, os.cpu_count() or 1)
