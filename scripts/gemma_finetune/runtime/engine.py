"""A bundle on LiteRT-LM, the runtime that phones use: text in, text out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import litert_lm

from gemma_finetune.formats.function_calls import render_calls
from gemma_finetune.utils.cli import UserError


class DeclaredTool(litert_lm.Tool):
    """A function that is declared to the model, and that the runtime does not carry out."""

    def __init__(self, tool: dict):
        self._tool = tool

    def get_tool_description(self) -> dict[str, Any]:
        return self._tool

    def execute(self, param: Mapping[str, Any]) -> Any:
        raise NotImplementedError("calls are returned, not carried out")


def function_options(tools: Iterable[dict]) -> dict[str, Any]:
    """Arguments of `create_conversation` that declare functions and have their calls returned.

    The runtime could carry them out itself, but of two calls in one turn its binding keeps only the
    last when it streams.
    """
    declared = [DeclaredTool(tool) for tool in tools]
    return {"tools": declared, "automatic_tool_calling": False} if declared else {}


def said(message: litert_lm.Message) -> str:
    """What the model said in a message of the runtime: its text, and its calls as it wrote them."""
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]
    return str(message) + render_calls(calls)


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
