"""What the projections of a Gemma 3 read, from its forward pass in float64, with numpy alone.

AWQ chooses its scales by these numbers, and every machine has to choose the same. In float32 their
last bits depend on the CPU, since torch picks its kernels by it. In float64 such differences are
about 1e-13 of a value, far below what the choice looks at.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.utils.progress import progress, working
from gemma_finetune.utils.quiet import quiet_unless_it_fails

GELU_CUBIC = 0.044715  # of the tanh approximation of GELU (arXiv:1606.08415)


def collect_inputs(model: str | Path, rows: Iterable[Sequence[int]]) -> dict[str, np.ndarray]:
    """{module path: its inputs (N, in), float64} while the model reads `rows` of N tokens in all.

    For q_proj, o_proj, gate_proj and down_proj of every layer: k_proj and v_proj read what q_proj
    reads, and up_proj what gate_proj reads. `model`: a directory in Hugging Face layout.
    """
    with working("load transformers"), quiet_unless_it_fails():
        from transformers import Gemma3TextConfig
    config = Gemma3TextConfig.from_pretrained(model, local_files_only=True)
    rows = list(rows)
    with open_weights(Path(model) / "model.safetensors") as file:
        return _Gemma3(config, file, [len(row) for row in rows]).collect(np.concatenate(rows))


class _Gemma3:
    """The layers of a Gemma 3 on rows that follow each other without padding, N tokens in all."""

    def __init__(self, config: Any, file: Any, lengths: Sequence[int]) -> None:
        self.config, self.file, self.lengths = config, file, lengths
        self.inputs: dict[str, np.ndarray] = {}

    def collect(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """`ids` (N,) -> the inputs of the projections."""
        embedding = self.file.get_tensor("model.embed_tokens.weight")
        hidden = embedding[ids].astype(np.float64) * math.sqrt(self.config.hidden_size)  # (N, D)
        del embedding

        kinds = self.config.layer_types
        shown = progress(kinds, "read calibration rows, layer by layer", len(kinds))
        for index, kind in enumerate(shown):
            layer = f"model.layers.{index}"
            x = self._norm(f"{layer}.input_layernorm", hidden)
            x = self._attention(f"{layer}.self_attn", x, kind)
            hidden = hidden + self._norm(f"{layer}.post_attention_layernorm", x)

            x = self._norm(f"{layer}.pre_feedforward_layernorm", hidden)
            x = self._mlp(f"{layer}.mlp", x)
            hidden = hidden + self._norm(f"{layer}.post_feedforward_layernorm", x)
        return self.inputs

    def _weight(self, module: str) -> np.ndarray:
        return self.file.get_tensor(f"{module}.weight").astype(np.float64)

    def _norm(self, module: str, x: np.ndarray) -> np.ndarray:
        """RMSNorm over the last axis, times 1 + weight."""
        mean_square = np.square(x).mean(-1, keepdims=True)
        return x / np.sqrt(mean_square + self.config.rms_norm_eps) * (1 + self._weight(module))

    def _mlp(self, module: str, x: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, D)."""
        self.inputs[f"{module}.gate_proj"] = x
        gate = _gelu(x @ self._weight(f"{module}.gate_proj").T)
        x = gate * (x @ self._weight(f"{module}.up_proj").T)
        self.inputs[f"{module}.down_proj"] = x
        return x @ self._weight(f"{module}.down_proj").T

    def _attention(self, module: str, x: np.ndarray, kind: str) -> np.ndarray:
        """(N, D) -> (N, D). `kind`: of the layer, "sliding_attention" or "full_attention"."""
        self.inputs[f"{module}.q_proj"] = x
        q = self._norm(f"{module}.q_norm", self._heads(f"{module}.q_proj", x))
        k = self._norm(f"{module}.k_norm", self._heads(f"{module}.k_proj", x))
        v = self._heads(f"{module}.v_proj", x)

        # Query heads that share a key/value head are neighbours.
        repeats = self.config.num_attention_heads // self.config.num_key_value_heads
        k, v = k.repeat(repeats, axis=0), v.repeat(repeats, axis=0)

        outputs = []
        for end, length in zip(np.cumsum(self.lengths), self.lengths, strict=True):
            row = slice(end - length, end)
            outputs.append(self._attend(q[:, row], k[:, row], v[:, row], kind))
        x = np.concatenate(outputs)
        self.inputs[f"{module}.o_proj"] = x
        return x @ self._weight(f"{module}.o_proj").T

    def _heads(self, module: str, x: np.ndarray) -> np.ndarray:
        """(N, D) -> (heads, N, head_dim)."""
        x = x @ self._weight(module).T
        return x.reshape(len(x), -1, self.config.head_dim).swapaxes(0, 1)

    def _attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, kind: str) -> np.ndarray:
        """(heads, T, head_dim) each -> (T, heads * head_dim), of one row."""
        length = q.shape[1]
        cos, sin = self._rope(length, kind)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        scores = q @ k.swapaxes(1, 2) / math.sqrt(self.config.query_pre_attn_scalar)

        distance = np.arange(length)[:, None] - np.arange(length)  # (T, T): query minus key
        visible = distance >= 0
        if kind == "sliding_attention":
            visible &= distance < self.config.sliding_window
        scores = np.where(visible, scores, -np.inf)  # (heads, T, T)

        probs = np.exp(scores - scores.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        return (probs @ v).swapaxes(0, 1).reshape(length, -1)

    def _rope(self, length: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines of the rotary embedding, (T, head_dim / 2) each."""
        rope, head_dim = self.config.rope_parameters[kind], self.config.head_dim
        frequencies = rope["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
        angles = np.arange(length)[:, None] * frequencies / rope.get("factor", 1)
        return np.cos(angles), np.sin(angles)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """(heads, T, head_dim), rotated by position: each first half pairs with the second half."""
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + GELU_CUBIC * x**3)))
