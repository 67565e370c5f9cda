"""The exported graph on LiteRT's CPU runtime: token ids in, logits out.

    model = TFLiteModel("models/tflite/int8.tflite", threads=2)
    model.prefill(ids[:-1])
    logits = model.decode(ids[-1])  # (V,)

- It knows no text, no template and no sampling.
- The graph is what `litert_torch.generative.export_hf` writes: signatures `prefill_N`, which only
  fill the KV cache, and `decode`, which takes one token and returns logits.
- The cache lives in buffers that are both input and output of every call, so the runtime updates it
  in place. TFLite's older `Interpreter` copies it in and out of every step.
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.environment import Environment
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, Options

from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.runtime.prefill import choose_prefill
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.quiet import quiet, quiet_at_exit

# Where XNNPACK keeps the weights as its kernels read them: in memory, once for all signatures, and
# without the file's own copy. Otherwise each signature has its own. It takes Linux's memfd.
PACKED_WEIGHTS = ":memory" if sys.platform == "linux" else ""

# Added to the attention scores of hidden positions. Finite, so that no NaN can arise.
HIDDEN = np.float32(-1e9)

Buffers = dict[str, Any]  # {name: LiteRT's TensorBuffer}


class TFLiteModel:
    """A `.tflite` and its KV cache. `position` is the number of tokens in the cache.

    UserError if the file is damaged or LiteRT cannot run it.
    """

    def __init__(self, path: str | Path, threads: int):
        file = TFLiteFile(path)  # refuses files that would crash LiteRT
        self.cache_length, self.vocabulary_size = file.cache_length(), file.vocabulary_size()
        signatures = file.signatures()
        prefills = [name for name in signatures if name.startswith("prefill_")]
        self.prefill_lengths = tuple(sorted(int(name.split("_")[1]) for name in prefills))
        self.position = 0
        with quiet():  # LiteRT logs the accelerators it looks for; the wheel has no switch for that
            self._model = _load(path, threads)
            self._cache = self._empty_cache()
            self._inputs = {name: self._step_inputs(name) for name in signatures}
            self._logits = self._model.create_output_buffer_by_name("decode", "logits")

    def reset(self) -> None:
        """Forgets every token."""
        self.position = 0

    def rewind(self, position: int) -> None:
        """Forgets the tokens from `position` on. ValueError if the cache does not reach there.

        What the cache holds behind `position` stays hidden and is overwritten later.
        """
        if not 0 <= position <= self.position:
            raise ValueError(f"rewind goes back. Received: position={position} at {self.position}")
        self.position = position

    def prefill(self, ids: Sequence[int]) -> None:
        """Reads tokens into the cache, in few calls with little padding. Gives no logits.

        ValueError if the cache is full.
        """
        start = 0
        while start < len(ids):
            room = self.cache_length - self.position
            length = choose_prefill(self.prefill_lengths, len(ids) - start, room)
            if length is None:
                self.decode(ids[start])
                start += 1
            else:
                self._run(f"prefill_{length}", ids[start : start + length], length, {})
                start += length

    def decode(self, token: int) -> np.ndarray:
        """Reads one token; returns the logits of the next, (V,) float32.

        ValueError if the cache is full.
        """
        self._run("decode", [token], 1, {"logits": self._logits})
        return self._logits.read(self.vocabulary_size, np.float32)

    def _run(self, signature: str, ids: Sequence[int], length: int, outputs: Buffers) -> None:
        """One call of `signature` on `ids`, padded to `length`.

        The padding lands in the cache behind the new `position`, where it is hidden.
        """
        if self.position + length > self.cache_length:
            raise ValueError(
                f"the cache is full. Received: {length} tokens at {self.position} of "
                f"{self.cache_length}"
            )
        tokens = np.zeros((1, length), np.int32)
        tokens[0, : len(ids)] = ids
        positions = np.arange(self.position, self.position + length, dtype=np.int32)  # (T,)
        visible = np.arange(self.cache_length) <= positions[:, None]  # (T, cache length)

        inputs = self._inputs[signature]
        inputs["tokens"].write(tokens)
        inputs["input_pos"].write(positions)
        inputs["mask"].write(np.where(visible, np.float32(0), HIDDEN))
        self._model.run_by_name(signature, inputs | self._cache, outputs | self._cache)
        self.position += len(ids)

    def _step_inputs(self, signature: str) -> Buffers:
        """The input buffers of a signature, without the cache."""
        names = ("tokens", "input_pos", "mask")
        return {name: self._model.create_input_buffer_by_name(signature, name) for name in names}

    def _empty_cache(self) -> Buffers:
        cache = {}
        details: Mapping[str, Any] = self._model.get_input_tensor_details("decode")
        for name, detail in details.items():
            if name.startswith("kv_cache_"):
                cache[name] = self._model.create_input_buffer_by_name("decode", name)
                cache[name].write(np.zeros(detail["shape"], np.float32))
        return cache


def _load(path: str | Path, threads: int) -> CompiledModel:
    options = Options(
        hardware_accelerators=HardwareAccelerator.CPU,
        cpu_options=CpuOptions(num_threads=threads, xnnpack_weight_cache_path=PACKED_WEIGHTS),
    )
    try:
        return CompiledModel.from_file(str(path), options=options, environment=_environment())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: LiteRT cannot run it ({reason}); run the stage that makes it again"
        )


@functools.cache
def _environment() -> Environment:
    """LiteRT's environment, one a process. It also logs when it is destroyed, at exit."""
    quiet_at_exit()
    return Environment.create()
