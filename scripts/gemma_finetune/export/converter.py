"""Merged model -> one float32 `.tflite`, by litert-torch's `export_hf`.

The file has a signature `prefill_N` for each prefill length and `decode` for one token, and a KV
cache of fixed length. It is read back before it counts. Quantizing is a step of its own
(quantizer.py).
"""

import io
import math
import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import aside, read_json, require
from gemma_finetune.utils.quiet import quiet_unless_it_fails

GB = 1e9


@dataclass(frozen=True)
class Cost:
    """Of a conversion: seconds (on two cores) and bytes of memory at the peak."""

    seconds: float
    memory: float

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.memory / GB:.1f} GB of memory"


def convert_to_tflite(
    merged: str | Path, path: str | Path, prefill_lengths: Sequence[int], cache_length: int
) -> Cost:
    """Converts a Hugging Face directory to `path`; returns the cost. UserError, before it starts,
    if it can't work.
    """
    config = read_json(require(Path(merged) / "config.json", "merge"))
    check_lengths(prefill_lengths, cache_length, config["max_position_embeddings"])
    check_memory(estimate(merged, config, len(prefill_lengths)), available_memory())
    start = time.monotonic()
    with aside(path) as temporary:
        folder = temporary.with_name("export")
        os.replace(_export(merged, folder, prefill_lengths, cache_length), temporary)
        check_signatures(temporary, prefill_lengths, cache_length)
    return Cost(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def check_lengths(prefill_lengths: Sequence[int], cache_length: int, max_position: int) -> None:
    """UserError unless the prefill lengths fit the cache, and the cache fits the model."""
    if list(prefill_lengths) != sorted(set(prefill_lengths)) or prefill_lengths[0] < 1:
        raise UserError(
            f"export.prefill_lengths: {list(prefill_lengths)} must be positive, ascending, and each named once"
        )
    if prefill_lengths[-1] >= cache_length:
        raise UserError(
            f"export.prefill_lengths: {prefill_lengths[-1]} leaves no room to answer in a cache of "
            f"export.cache_length {cache_length}; make the cache longer or the prefill shorter"
        )
    if cache_length > max_position:
        raise UserError(
            f"export.cache_length: {cache_length} is more than the {max_position} positions of the model"
        )


def estimate(merged: str | Path, config: dict, prefills: int) -> Cost:
    """What converting will about cost, by a fit to tiny, 270M and 1B models
    (benchmarks/README.md).
    """
    weights = float32_bytes(require(Path(merged) / "model.safetensors", "merge"))
    embedding = 4 * config["vocab_size"] * config["hidden_size"]
    seconds = 12 + 1.6 * config["num_hidden_layers"] * (prefills + 1) + 10 * weights / GB
    return Cost(seconds, 1.4 * GB + 1.9 * weights + 5 * embedding)


def float32_bytes(weights: str | Path) -> int:
    """Size of the tensors of a safetensors file, were they all float32."""
    with open_weights(weights) as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    return 4 * sum(math.prod(shape) for shape in shapes)


def available_memory() -> float:
    """Bytes this process can still take: of the machine, or of its container where that is less."""
    free, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if not free.exists():  # not Linux
        return math.inf
    sizes = dict(line.split(":") for line in free.read_text().splitlines())
    available = 1024 * int(sizes["MemAvailable"].split()[0])
    contained = limit.read_text().strip() if limit.exists() else "max"
    return available if contained == "max" else min(available, int(contained))


def check_memory(cost: Cost, available: float) -> None:
    """UserError if the conversion would be killed halfway for want of memory."""
    print(f"estimate: {cost}; {available / GB:.1f} GB are free")
    if cost.memory > available:
        raise UserError(
            f"converting takes about {cost.memory / GB:.1f} GB of memory and {available / GB:.1f} GB are free: close "
            "other programs, or run `dvc repro tflite` on a larger machine and `dvc pull` the result here"
        )


def check_signatures(path: str | Path, prefill_lengths: Sequence[int], cache_length: int) -> None:
    """UserError unless the built file has exactly the signatures and the cache that were asked
    for.
    """
    file = TFLiteFile(path)
    expected = {*(f"prefill_{length}" for length in prefill_lengths), "decode"}
    if set(file.signatures()) != expected or file.cache_length() != cache_length:
        raise UserError(
            f"the converter wrote signatures {sorted(file.signatures())} with a cache of {file.cache_length()}; asked "
            f"for {sorted(expected)} and {cache_length}. This is a fault of litert-torch: check its version"
        )


def _export(merged, folder, prefill_lengths, cache_length) -> Path:
    """Path of the `.tflite` that export_hf leaves in `folder`. Its log is shown only if it
    fails.
    """
    log = io.StringIO()
    try:
        with redirect_stdout(log):
            with quiet_unless_it_fails():
                from litert_torch.generative.export_hf import (
                    export,  # 8 s: only once the checks have passed
                )
                from transformers.utils.logging import disable_progress_bar
            disable_progress_bar()
            with _progress_bar(signatures=len(prefill_lengths) + 1):
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
def _progress_bar(signatures: int) -> Iterator[None]:
    """Shows the steps that litert-torch announces as one bar: three for each signature, and a few for all."""
    from litert_torch import progress

    with tqdm(total=3 * signatures + 3, unit="step", leave=False) as bar:
        console = progress.console  # of rich
        file, width = console.file, console.width
        console.file, console.width = (
            _Steps(bar),
            1000,
        )  # one line for an announcement, however long
        try:
            yield
        finally:
            console.file, console.width = file, width


class _Steps(io.TextIOBase):
    """Reads lines such as `(00:01) [START] Export > Lower to MLIR: decode` and moves a bar along."""

    def __init__(self, bar: tqdm):
        self._bar = bar

    def write(self, text: str) -> int:
        if "[START]" in text:
            self._bar.set_description(text.rstrip().rpartition("> ")[2].rpartition("] ")[2])
        elif "[ DONE]" in text:
            self._bar.update()
        return len(text)
