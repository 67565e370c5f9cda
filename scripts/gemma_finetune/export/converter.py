"""Merged model -> one float32 `.tflite`, by litert-torch's `export_hf`.

The file has a signature `prefill_N` for each prefill length, `decode` for one token, and a KV cache
of fixed length. It is read back before it takes its place. Quantizing is a step after this one
(quantizer.py).
"""

import gc
import io
import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from gemma_finetune.export.config import check_lengths
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.formats.tflite_file import TFLiteFile, mapped
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, read_json, require
from gemma_finetune.utils.imports import stand_ins, without_tensorflow
from gemma_finetune.utils.machine import check_disk, check_memory, show_bytes
from gemma_finetune.utils.progress import Bar, relay, working
from gemma_finetune.utils.quiet import quiet_unless_it_fails

GB = 1e9
ALIGNMENT = 16  # bytes, of a weight behind the flatbuffer

# litert-torch also imports its image models, and TensorFlow for one of them: a quarter of the time
# to load the converter, and 400 MB.
_MODELS = "litert_torch.generative.export_hf.model_ext"
_IMAGE_MODELS = {
    f"{_MODELS}.{name}.{name}": ModuleType(name) for name in ("bonsai_flux2", "flux2_klein")
}


@dataclass(frozen=True)
class Cost:
    """Of a conversion: seconds (on two cores), and bytes of memory at the peak."""

    seconds: float
    memory: float

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.memory / GB:.1f} GB of memory"


def convert_to_tflite(
    merged: str | Path, path: str | Path, prefill_lengths: Sequence[int], cache_length: int
) -> None:
    """Converts a model in Hugging Face layout to `path`."""
    with aside(path) as temporary:
        folder = temporary.with_name("export")
        exported = _export(merged, folder, prefill_lengths, cache_length)
        move_in_order(exported, temporary)
        check_signatures(temporary, prefill_lengths, cache_length)


def move_in_order(source: Path, path: Path) -> None:
    """Moves a `.tflite`; the weights behind its flatbuffer come in the order of their numbers.

    A file over 2 GB has its weights there, and the converter writes them in an order that differs
    from run to run. Of a smaller file no byte changes.
    """
    content = memoryview(mapped(source))
    model = schema.Model.GetRootAs(content)
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    outside = [buffer for buffer in buffers if buffer.Offset() > 1]  # else within the flatbuffer
    if not outside:
        os.replace(source, path)
        return

    flatbuffer = bytearray(content[: min(buffer.Offset() for buffer in outside)])
    moved: dict[int, int] = {}  # from where to where; equal weights may share a place
    with open(path, "wb") as file:
        file.write(flatbuffer)
        for buffer in outside:
            start, size = buffer.Offset(), buffer.Size()
            if start not in moved:
                moved[start] = file.tell()
                file.write(content[start : start + size])
                file.write(bytes(ALIGNMENT - size % ALIGNMENT))  # the converter's own rule
            struct.pack_into("<Q", flatbuffer, _place_of_offset(buffer), moved[start])
        file.write(bytes(len(content) - file.tell()))  # kernels may read past the last weight
        file.seek(0)
        file.write(flatbuffer)
    source.unlink()


def _place_of_offset(buffer: schema.Buffer) -> int:
    """The byte of a file at which the field `offset` of a buffer is."""
    table = buffer._tab
    return table.Pos + table.Offset(6)  # 6: the field's place in the schema


def check_conversion(
    merged: str | Path, prefill_lengths: Sequence[int], cache_length: int, calibration_tokens: int
) -> None:
    """Prints what scaling and conversion will cost.

    UserError, before any of it starts, if the lengths don't fit, or memory or disk is short.
    """
    config = read_json(require(Path(merged) / "config.json", "merge"))
    check_lengths(prefill_lengths, cache_length, config["max_position_embeddings"])
    cost = estimate(merged, config, len(prefill_lengths), calibration_tokens)
    disk = disk_bytes(float32_bytes(Path(merged) / "model.safetensors"), calibration_tokens)
    elsewhere = "run `dvc repro tflite` on a larger machine and `dvc pull` the result here"
    check_memory(f"{cost}, {show_bytes(disk)} of disk", cost.memory, "converting", elsewhere)
    check_disk(Path(merged).parent, disk, "converting", elsewhere)


def disk_bytes(weights: float, calibration_tokens: int) -> float:
    """What a conversion writes, temporary files included. weights: bytes, as float32."""
    copies = 1
    if weights > 2 * GB:
        copies += 1  # while its weights are put in order
    if calibration_tokens:
        copies += 1  # the scaled model
    return copies * weights


def estimate(
    merged: str | Path, config: dict[str, Any], prefills: int, calibration_tokens: int
) -> Cost:
    """What a conversion with so many prefill lengths will cost, roughly, scaling included.

    A fit to tiny, 270M and 1B models on two idle cores of an AMD EPYC (benchmarks/README.md).
    """
    weights = float32_bytes(require(Path(merged) / "model.safetensors", "merge"))
    embedding = 4 * config["vocab_size"] * config["hidden_size"]
    seconds = 11 + config["num_hidden_layers"] * (prefills + 1) + 28 * weights / GB
    if calibration_tokens:
        # The search for scales, and a forward pass in float64
        layers = (weights - embedding) / GB
        seconds += 4 + layers * (75 + 22 * calibration_tokens / 1024)
    return Cost(seconds, 1.4 * GB + 1.9 * weights + 5 * embedding)


def float32_bytes(weights: str | Path) -> int:
    """How many bytes the tensors of a safetensors file take as float32."""
    with open_weights(weights) as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    return 4 * sum(math.prod(shape) for shape in shapes)


def check_signatures(path: str | Path, prefill_lengths: Sequence[int], cache_length: int) -> None:
    """UserError unless the built file has exactly these signatures and this cache length."""
    file = TFLiteFile(path)
    found, found_cache = set(file.signatures()), file.cache_length()
    expected = {*(f"prefill_{length}" for length in prefill_lengths), "decode"}
    if found != expected or found_cache != cache_length:
        raise UserError(
            f"the converter wrote signatures {sorted(found)} with a cache of {found_cache}; asked "
            f"for {sorted(expected)} and {cache_length}. This is a fault of litert-torch: check "
            "its version"
        )


def _export(
    merged: str | Path, folder: Path, prefill_lengths: Sequence[int], cache_length: int
) -> Path:
    """The `.tflite` that `export_hf` writes somewhere in `folder`.

    What it prints is shown only if it fails.
    """
    log = io.StringIO()
    try:
        with redirect_stdout(log), without_tensorflow(), stand_ins(_IMAGE_MODELS):
            # 10 s, and 40 from a cold disk, so it is imported only after the checks
            with working("load the converter"), quiet_unless_it_fails():
                from litert_torch.generative.export_hf import export
                from transformers.utils.logging import disable_progress_bar
            disable_progress_bar()
            with (
                _progress_bar(signatures=len(prefill_lengths) + 1),
                _few_collections(),
                _decomposed_once(),
                _finite_weights_left_alone(),
            ):
                export.export(
                    model=str(merged),
                    output_dir=str(folder),
                    prefill_lengths=list(prefill_lengths),
                    cache_length=cache_length,
                    bundle_litert_lm=False,
                    quantization_recipe="none",
                    trust_remote_code=False,
                )
    except Exception:
        print(log.getvalue())
        raise
    return next(folder.glob("**/model.tflite"))


@contextmanager
def _few_collections() -> Iterator[None]:
    """In the block Python looks for garbage less often, and not in what is there already.

    Tracing a model makes millions of objects, few of them garbage. Looking through them again and
    again takes 8 % of the conversion's time.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@contextmanager
def _decomposed_once() -> Iterator[None]:
    """In the block a signature is decomposed into simpler operators where it is lowered, and not
    after its export as well: a sixth of a conversion's time.

    Private: `core.export_torch_signature`. litert-torch's next converter asks it for the same, but
    needs a TensorFlow that is not released yet.
    """
    from litert_torch._convert import core

    original = core.export_torch_signature
    core.export_torch_signature = partial(original, run_decompositions=False)
    try:
        yield
    finally:
        core.export_torch_signature = original


@contextmanager
def _finite_weights_left_alone() -> Iterator[None]:
    """In the block only weights with an infinite number in them are written.

    Private: `inline_consts._clamp_inf_values`, which writes all of them in place, clamped to finite
    numbers. They are mapped from a file, so that each page is copied at its first write.
    """
    import torch
    from litert_torch.backend import inline_consts

    original = inline_consts._clamp_inf_values

    def clamp(weight: Any) -> Any:
        is_float = weight.is_floating_point() and weight.numel() > 0
        if is_float and all(map(torch.isfinite, weight.aminmax())):
            return weight
        return original(weight)

    inline_consts._clamp_inf_values = clamp
    try:
        yield
    finally:
        inline_consts._clamp_inf_values = original


@contextmanager
def _progress_bar(signatures: int) -> Iterator[None]:
    """Shows litert-torch's steps as one progress bar: six a signature, and nine for all."""
    from litert_torch.progress import console  # of rich

    steps = 6 * signatures + 9
    with (
        relay() as stream,  # one of the steps holds Python's lock for half a minute and more
        Bar(desc="convert to TFLite", total=steps, unit="step", leave=False, stream=stream) as bar,
    ):
        console.push_render_hook(_Steps(bar))
        try:
            yield
        finally:
            console.pop_render_hook()


class _Steps:
    """A hook of rich's console that moves a progress bar by the lines that litert-torch prints.

    (00:01) [START] Export > Lower to MLIR: decode
    (00:09) [ DONE] Export > Lower to MLIR: decode (+00:08)
    """

    def __init__(self, bar: Bar):
        self._bar = bar

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        """Called by rich with what it is about to print, which it prints then."""
        for line in map(str, renderables):
            if "[START]" in line:
                task = line.partition("[START]")[2].rpartition(">")[2]
                self._bar.set_description(f"convert to TFLite: {task.strip()}")
            elif "[ DONE]" in line:
                self._bar.update()
        return renderables
