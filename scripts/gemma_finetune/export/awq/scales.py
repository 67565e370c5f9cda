"""Activation-aware weight scaling before quantization (AWQ: Lin et al. 2023, arXiv:2306.00978).

Four-bit blocks lose most where a weight meets large activations. AWQ multiplies input channel i of
a projection by a scale s_i, and divides what produces that channel by s_i. The float model computes
the same as before, and those weights get a finer grid:

    divided by s                multiplied by s
    input_layernorm             q, k, v
    v_proj (rows)               o               (query heads of a key/value head share s)
    pre_feedforward_layernorm   gate, up
    up_proj (rows)              down

A row that is divided keeps its own grid, so the producers lose nothing. The embedding is also the
head and cannot be scaled. Works on Hugging Face tensors, with numpy alone.

Every machine finds the same scales. What the search looks at is computed in float64, where CPUs
differ by 1e-13 or so; a scale is then rounded to a few bits, which removes the difference, and the
search calls two losses a tie unless they differ by more.
"""

import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from gemma_finetune.export.awq.activations import collect_inputs
from gemma_finetune.formats.fake_quantization import bits_of, fake_quantized
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.files import read_json, require
from gemma_finetune.utils.machine import count_cores
from gemma_finetune.utils.progress import progress

BITS = 4  # of the quantization to prepare for
ALPHAS = np.linspace(0, 1, 11)  # the grid of the search, s = (mean |x|) ** alpha
SEARCH_ROWS = 256  # finds the same scales as four times as many, in a third of the time
SMALLEST = 1e-4  # lower bound of a channel's mean |x|
SCALE_BITS = 6  # of a scale's mantissa: steps of 1.6 to 3 %
TIE = 1e-9  # losses that differ by less, relative to the smallest, are equal
MOST_THREADS = 4  # each holds copies of the weights that it tries: 0.25 GB for a 1B model

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Group:
    """Projections that read the same input, and what produces that input.

    `repeats`: how many query heads share a key/value head.
    """

    producer: str
    consumers: tuple[str, ...]
    is_norm: bool
    repeats: int = 1
    head_dim: int = 1


def write_scaled(merged: str | Path, directory: str | Path, rows: Iterable[Sequence[int]]) -> None:
    """Copies a merged model (Hugging Face layout, float32) to `directory`, scaled.

    `rows`: token ids of the calibration texts. UserError if the model is damaged.
    """
    config = read_json(require(Path(merged) / "config.json", "merge"))
    weights = require(Path(merged) / "model.safetensors", "merge")
    with open_weights(weights):
        pass  # names damaged weights now: an error of the copy below is not the weights' fault
    shutil.copytree(merged, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    inputs = collect_inputs(merged, rows)
    tensors = scale(load_file(weights), config, inputs)
    save_file(tensors, Path(directory) / "model.safetensors", metadata={"format": "pt"})


def calibration_rows(
    texts: Sequence[str], tokenizer: GemmaTokenizer, tokens: int
) -> list[list[int]]:
    """Token ids of conversations drawn from `texts`, `tokens` in all. Always the same draw."""
    rows: list[list[int]] = []
    left = tokens
    for text in random.Random(0).sample(texts, len(texts)):
        if left <= 0:
            break
        ids, _ = tokenizer.encode_conversation(text)
        rows.append(ids[:left])
        left -= len(rows[-1])
    return rows


def groups(config: Mapping[str, Any]) -> list[Group]:
    """The groups that can be scaled in a Gemma 3 with this config.json, first layer first."""
    repeats = config["num_attention_heads"] // config["num_key_value_heads"]
    head_dim = config["head_dim"]
    found = []
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        v_proj, up_proj = f"{attention}.v_proj", f"{mlp}.up_proj"
        qkv = (f"{attention}.q_proj", f"{attention}.k_proj", v_proj)
        gate_up = (f"{mlp}.gate_proj", up_proj)
        found += [
            Group(f"{layer}.input_layernorm", qkv, is_norm=True),
            Group(v_proj, (f"{attention}.o_proj",), False, repeats, head_dim),
            Group(f"{layer}.pre_feedforward_layernorm", gate_up, is_norm=True),
            Group(up_proj, (f"{mlp}.down_proj",), is_norm=False),
        ]
    return found


def find_scales(tensors: Tensors, group: Group, x: np.ndarray) -> np.ndarray:
    """The scales (C,) of the producer's channels with the least loss on the inputs `x` (N, in).

    AWQ's search: s = (mean |x|) ** alpha over a grid of alpha; of equal losses, the smallest alpha.
    alpha = 0 means no scaling. It wins for a merged model of a quantization-aware adapter, whose
    weights are rounded already.
    """
    weights = [tensors[f"{name}.weight"] for name in group.consumers if bits_of(name) == BITS]

    # (in,) -> (C,): the query heads of a key/value head share its channels
    magnitude = _to_channels(group, np.abs(x).mean(0))
    magnitude = np.maximum(magnitude, SMALLEST)
    candidates = [_rounded(_centered(magnitude**alpha)) for alpha in ALPHAS]

    x = x[:: -(-len(x) // SEARCH_ROWS)]  # every n-th row
    energies = [np.square(x @ weight.T).sum() for weight in weights]
    losses = [_loss(weights, energies, x, _to_inputs(group, scales)) for scales in candidates]
    is_least = losses <= np.min(losses) * (1 + TIE)
    return candidates[int(np.argmax(is_least))]  # the first of them


def _centered(scales: np.ndarray) -> np.ndarray:
    """Scales with a largest and a smallest that multiply to 1, as in the paper's code."""
    return scales / np.sqrt(scales.max() * scales.min())


def _rounded(scales: np.ndarray) -> np.ndarray:
    """Scales with SCALE_BITS of mantissa, float32. Exact arithmetic, so equal on every machine."""
    mantissa, exponent = np.frexp(scales)
    steps = 2**SCALE_BITS
    return np.ldexp(np.rint(mantissa * steps) / steps, exponent).astype(np.float32)


def _loss(
    weights: Sequence[np.ndarray], energies: Sequence[float], x: np.ndarray, scales: np.ndarray
) -> float:
    """Squared error of the consumers' outputs, relative to the outputs' `energies`, summed."""
    total = 0.0
    for weight, energy in zip(weights, energies, strict=True):
        rounded = fake_quantized(weight * scales, BITS) / scales  # (out, in)
        error = x @ (rounded - weight).T  # (N, out)
        total += float(np.square(error).sum() / energy)
    return total


def _to_channels(group: Group, values: np.ndarray) -> np.ndarray:
    """(in,) of the consumers -> (C,) of the producer: the mean over `repeats`."""
    # (heads, repeats, head_dim) -> (repeats, heads, head_dim) -> (repeats, C)
    values = values.reshape(-1, group.repeats, group.head_dim).swapaxes(0, 1)
    return values.reshape(group.repeats, -1).mean(0)


def _to_inputs(group: Group, scales: np.ndarray) -> np.ndarray:
    """(C,) of the producer -> (in,) of the consumers: a key/value head feeds its query heads."""
    return np.repeat(scales.reshape(-1, group.head_dim), group.repeats, axis=0).reshape(-1)


def fold(tensors: Tensors, group: Group, scales: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors that the scales (C,) of a group change, by name. The model computes the same."""
    producer = tensors[f"{group.producer}.weight"]
    if group.is_norm:
        folded = (1 + producer) / scales - 1  # Gemma's norms multiply by 1 + weight
    else:
        folded = producer / scales[:, None]  # (C, in)
    changed = {f"{group.producer}.weight": folded.astype(np.float32)}
    for name in group.consumers:
        weight = tensors[f"{name}.weight"]
        changed[f"{name}.weight"] = (weight * _to_inputs(group, scales)).astype(np.float32)
    return changed


def scale(
    tensors: Tensors, config: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All tensors, scaled group by group. `inputs`: {first consumer of a group: (N, in)}."""
    found = groups(config)

    def search(group: Group) -> np.ndarray:
        return find_scales(tensors, group, inputs[group.consumers[0]])

    # Each group's search looks at the unscaled tensors alone, so they can run side by side.
    with ThreadPoolExecutor(min(MOST_THREADS, count_cores())) as pool:
        results = pool.map(search, found)
        all_scales = list(progress(results, "search the scales for INT4 (AWQ)", len(found)))

    scaled = dict(tensors)
    for group, scales in zip(found, all_scales, strict=True):
        # v_proj and up_proj are scaled twice: columns as consumers, rows as producers.
        if (scales != 1).any():
            scaled |= fold(scaled, group, scales)
    return scaled
