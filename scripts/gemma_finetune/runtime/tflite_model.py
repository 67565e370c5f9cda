"""The exported graph on LiteRT's CPU runtime: token ids in, logits out. Knows no text, no template,
no sampling.

    model = TFLiteModel("models/tflite/int8.tflite", threads=2)
    model.prefill(ids[:-1])
    logits = model.decode(ids[-1])  # (V,)

The graph is what `litert_torch.generative.export_hf` writes: signatures `prefill_N`, which only
fill the KV cache, and `decode`, which takes one token and returns logits. The cache lives in
buffers that are input and output of every call at once, so the runtime updates it in place;
TFLite's older `Interpreter` copies it in and out of every step.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.environment import Environment
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, Options

from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.runtime.prefill import choose_prefill
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.quiet import quiet, quiet_at_exit

HIDDEN = np.float32(
    -1e9
)  # added to the attention score of a position that may not be seen; finite, so no NaN


class TFLiteModel:
    """A `.tflite` and its KV cache. `position` is the number of tokens the cache holds."""

    def __init__(self, path: str | Path, threads: int):
        file = TFLiteFile(path)  # refuses what would crash LiteRT
        self.cache_length, self.vocabulary_size = file.cache_length(), file.vocabulary_size()
        signatures = file.signatures()
        self.prefill_lengths = tuple(
            sorted(int(n.split("_")[1]) for n in signatures if n.startswith("prefill_"))
        )
        with quiet():  # LiteRT logs the accelerators it looks for; the wheel has no switch for that
            self._model = _load(path, threads)
            inputs = self._model.get_input_tensor_details("decode")
            self._cache = {
                n: self._zeros(n, d) for n, d in inputs.items() if n.startswith("kv_cache_")
            }
            self._inputs = {s: self._step_inputs(s) for s in signatures}
            self._logits = self._model.create_output_buffer_by_name("decode", "logits")
        self.reset()

    def reset(self) -> None:
        """Forgets every token."""
        self.position = 0

    def rewind(self, position: int) -> None:
        """Forgets the tokens from `position` on; what the cache holds behind it is hidden and
        overwritten.
        """
        if not 0 <= position <= self.position:
            raise ValueError(f"rewind goes back. Received: position={position} at {self.position}")
        self.position = position

    def prefill(self, ids: Sequence[int]) -> None:
        """Reads tokens into the cache, in few calls with little padding. Gives no logits."""
        start = 0
        while start < len(ids):
            length = choose_prefill(
                self.prefill_lengths, len(ids) - start, self.cache_length - self.position
            )
            if length is None:
                self.decode(ids[start])
                start += 1
            else:
                self._run(f"prefill_{length}", ids[start : start + length], length, {})
                start += length

    def decode(self, token: int) -> np.ndarray:
        """Reads one token; returns the logits of the next, (V,) float32."""
        self._run("decode", [token], 1, {"logits": self._logits})
        return self._logits.read(self.vocabulary_size, np.float32)

    def _run(self, signature, ids, length, outputs):
        """One call of `signature` on `ids`, padded to `length`; padding lands behind `position`,
        where it is hidden.
        """
        if self.position + length > self.cache_length:
            raise ValueError(
                f"the cache is full. Received: {length} tokens at {self.position} of {self.cache_length}"
            )
        tokens = np.zeros((1, length), np.int32)
        tokens[0, : len(ids)] = ids
        positions = np.arange(self.position, self.position + length, dtype=np.int32)
        seen = np.arange(self.cache_length) <= positions[:, None]  # (T, C)
        inputs = self._inputs[signature]
        inputs["tokens"].write(tokens)
        inputs["input_pos"].write(positions)
        inputs["mask"].write(np.where(seen, np.float32(0), HIDDEN))
        self._model.run_by_name(signature, inputs | self._cache, outputs | self._cache)
        self.position += len(ids)

    def _step_inputs(self, signature):
        return {
            n: self._model.create_input_buffer_by_name(signature, n)
            for n in ("tokens", "input_pos", "mask")
        }

    def _zeros(self, name, details):
        buffer = self._model.create_input_buffer_by_name("decode", name)
        buffer.write(np.zeros(details["shape"], np.float32))
        return buffer


def _load(path, threads):
    options = Options(
        hardware_accelerators=HardwareAccelerator.CPU,
        cpu_options=CpuOptions(num_threads=threads),
    )
    try:
        return CompiledModel.from_file(str(path), options=options, environment=_environment())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: LiteRT cannot run it ({reason}); run the stage that makes it again"
        )


@functools.cache
def _environment():
    """One LiteRT environment a process. It logs its end, too."""
    quiet_at_exit()
    return Environment.create()
