"""A bundle on LiteRT-LM, the runtime that phones use: text in, text out."""

from pathlib import Path

import litert_lm

from gemma_finetune.utils.cli import UserError


def open_engine(path: str | Path, threads: int, benchmark: bool = False) -> litert_lm.Engine:
    """LiteRT-LM with the bundle at `path` loaded, on the CPU. UserError if it cannot load it.

    benchmark: whether a conversation can tell how many tokens it read and wrote.
    """
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.FATAL)
    backend = litert_lm.Backend.CPU(thread_count=threads)
    try:
        return litert_lm.Engine(
            str(path),
            backend=backend,
            cache_dir=":nocache",  # else it writes a cache file beside the model, into DVC's output
            enable_benchmark=benchmark,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: LiteRT-LM cannot load it ({reason}); make it again with `dvc repro bundle`"
        )
