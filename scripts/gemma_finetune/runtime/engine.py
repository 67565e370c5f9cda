"""A bundle on LiteRT-LM, the runtime that phones use: text in, text out."""

import contextlib
import ctypes
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import litert_lm

from gemma_finetune.formats.function_calls import render_calls
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.quiet import silent

# Chromium brings a Vulkan that the CPU computes; the path is Debian's.
_SOFTWARE = ", or set VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json to try without one"


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


def open_engine(
    path: str | Path, threads: int, benchmark: bool = False, gpu: bool = False
) -> litert_lm.Engine:
    """LiteRT-LM with the bundle at `path` loaded. UserError if it cannot load it.

    threads: of the CPU. With `gpu`, the GPU computes.
    benchmark: whether a conversation can tell how many tokens it read and wrote.
    """
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.FATAL)
    backend = litert_lm.Backend.GPU() if gpu else litert_lm.Backend.CPU(thread_count=threads)
    try:
        # The search for a GPU prints past that switch.
        with silent() if gpu else contextlib.nullcontext():
            return litert_lm.Engine(
                str(path),
                backend=backend,
                # else it writes a cache file beside the model, into DVC's output
                cache_dir=":nocache",
                enable_benchmark=benchmark,
            )
    except RuntimeError as error:
        if gpu:  # its message names the file alone
            raise UserError(f"{path}: LiteRT-LM cannot open it on a GPU: {_gpu_advice()}")
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: LiteRT-LM cannot load it ({reason}); make it again with `dvc repro bundle`"
        )


def _gpu_advice() -> str:
    """What is missing for a GPU, as far as can be told, and what to do about it."""
    if sys.platform != "linux":
        return "no GPU that it can use was found; update the GPU's driver"
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return f"libvulkan.so.1 is missing; install libvulkan1 and a Vulkan driver{_SOFTWARE}"
    return f"no GPU that it can use was found; install a Vulkan driver{_SOFTWARE}"
