"""Activation-aware scaling before quantization (AWQ: Lin et al. 2023, arXiv:2306.00978).

Four-bit blocks lose most where a weight meets large activations. Scaling input channel i of a
projection by s_i and the producer of that channel by 1 / s_i leaves the float model as it was and
gives such weights a finer grid:

    input_layernorm            1/s -> q, k, v   s
    v_proj (rows)              1/s -> o         s      (s shared by the query heads of a key/value head)
    pre_feedforward_layernorm  1/s -> gate, up  s
    up_proj (rows)             1/s -> down      s

Rows keep their own grid, so the producers lose nothing. The embedding is also the head and can't be
scaled. Works on Hugging Face tensors with numpy; only `collect_inputs` runs a model.
"""

import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from gemma_finetune.formats.fake_quantization import bits_of, fake_quantized
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.utils.files import read_json, require
from gemma_finetune.utils.quiet import quiet_unless_it_fails

BITS = 4  # of the quantization to prepare for
EXPONENTS = np.linspace(0, 1, 11)
SEARCH_ROWS = 256  # find the same scales as four times as many, at a third of the time
SMALLEST = 1e-4

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Group:
    """Projections that share an input, and what makes that input. `repeats`: query heads to a
    key/value head.
    """

    producer: str
    consumers: tuple[str, ...]
    is_norm: bool
    repeats: int = 1
    head_dim: int = 1


def write_scaled(merged: str | Path, directory: str | Path, rows: Iterable[Sequence[int]]) -> None:
    """Copies a merged model (Hugging Face layout, float32) to `directory`, scaled for what it sees
    in `rows`.
    """
    config = read_json(require(Path(merged) / "config.json", "merge"))
    weights = require(Path(merged) / "model.safetensors", "merge")
    with open_weights(weights):
        # Damaged ones are named here, before transformers reads them; a full disk is not taken for
        # that
        pass
    shutil.copytree(merged, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    inputs = collect_inputs(merged, rows, config)
    tensors = scale(load_file(weights), config, inputs)
    save_file(tensors, Path(directory) / "model.safetensors", metadata={"format": "pt"})


def calibration_rows(texts: Sequence[str], tokenizer, tokens: int) -> list[list[int]]:
    """Token ids of conversations drawn from `texts`, `tokens` in all; the same draw every time."""
    rows, left = [], tokens
    for text in random.Random(0).sample(texts, len(texts)):
        if left <= 0:
            break
        rows.append(tokenizer.encode_conversation(text)[0][:left])
        left -= len(rows[-1])
    return rows


def groups(config: Mapping) -> list[Group]:
    """The scalable groups of a Gemma 3 of this config.json, first layer first."""
    repeats, head_dim = (
        config["num_attention_heads"] // config["num_key_value_heads"],
        config["head_dim"],
    )
    found = []
    for i in range(config["num_hidden_layers"]):
        layer, attention, mlp = (f"model.layers.{i}{part}" for part in ("", ".self_attn", ".mlp"))
        qkv = tuple(f"{attention}.{name}_proj" for name in "qkv")
        found += [
            Group(f"{layer}.input_layernorm", qkv, is_norm=True),
            Group(
                f"{attention}.v_proj",
                (f"{attention}.o_proj",),
                is_norm=False,
                repeats=repeats,
                head_dim=head_dim,
            ),
            Group(
                f"{layer}.pre_feedforward_layernorm",
                (f"{mlp}.gate_proj", f"{mlp}.up_proj"),
                is_norm=True,
            ),
            Group(f"{mlp}.up_proj", (f"{mlp}.down_proj",), is_norm=False),
        ]
    return found


def find_scales(tensors: Tensors, group: Group, inputs: np.ndarray) -> np.ndarray:
    """The scale of each channel of the producer, (C,), that loses least on `inputs` (N, in) of the
    consumers.

    AWQ's search: s = (mean |x|) ** a over a grid of a; a = 0, no scaling, is in it, and is what a
    merged model of a quantization-aware adapter gets: it has lost all there is to lose.
    """
    weights = [tensors[f"{name}.weight"] for name in group.consumers if bits_of(name) == BITS]
    size = np.maximum(_over_repeats(group, np.abs(inputs).mean(0)).mean(0), SMALLEST)
    candidates = [_centred(size**exponent) for exponent in EXPONENTS]
    inputs = inputs[:: -(-len(inputs) // SEARCH_ROWS)]
    energies = [np.square(inputs @ weight.T).sum() for weight in weights]
    losses = [_loss(weights, energies, inputs, _to_inputs(group, scales)) for scales in candidates]
    return candidates[int(np.argmin(losses))]


def _centred(scales):
    return (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)


def _loss(weights, energies, inputs, scales) -> float:
    """Squared error of the consumers' outputs by the `energies` of those outputs, summed."""
    total = 0.0
    for weight, energy in zip(weights, energies, strict=True):
        wrong = inputs @ (fake_quantized(weight * scales, BITS) / scales - weight).T
        total += float(np.square(wrong).sum() / energy)
    return total


def _over_repeats(group, values):
    """(in,) of the consumers as (repeats, C) of the producer's channels."""
    shape = (-1, group.repeats, group.head_dim)
    return values.reshape(shape).swapaxes(0, 1).reshape(group.repeats, -1)


def _to_inputs(group, scales):
    """(C,) of the producer's channels as (in,) of the consumers: a key/value head feeds its query
    heads.
    """
    return np.repeat(scales.reshape(-1, group.head_dim), group.repeats, axis=0).reshape(-1)


def fold(tensors: Tensors, group: Group, scales: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors that a group's scales change, under their names. The model they make computes the
    same.
    """
    producer = tensors[f"{group.producer}.weight"]
    # Gemma's norms multiply by 1 + weight.
    folded = (1 + producer) / scales - 1 if group.is_norm else producer / scales[:, None]
    changed = {f"{group.producer}.weight": folded.astype(np.float32)}
    for name in group.consumers:
        weight = tensors[f"{name}.weight"]
        changed[f"{name}.weight"] = (weight * _to_inputs(group, scales)).astype(np.float32)
    return changed


def scale(
    tensors: Tensors, config: Mapping, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All tensors, scaled group by group for what the model sees in `inputs` {first consumer: (N,
    in)}.
    """
    scaled = dict(tensors)
    for group in groups(config):
        # The producer of an earlier group may be a consumer here (v_proj, up_proj): its rows and
        # columns are apart.
        scales = find_scales(tensors, group, inputs[group.consumers[0]])
        if (scales != 1).any():
            scaled |= fold(scaled, group, scales)
    return scaled


def collect_inputs(
    merged: str | Path, rows: Iterable[Sequence[int]], config: Mapping
) -> dict[str, np.ndarray]:
    """{first consumer of each group: its inputs, (N, in)} while the merged model reads `rows` of
    token ids.
    """
    with quiet_unless_it_fails():
        import torch
        from transformers import Gemma3ForCausalLM
        from transformers.utils.logging import disable_progress_bar
    disable_progress_bar()
    model = Gemma3ForCausalLM.from_pretrained(
        merged, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    )
    ids, real = _padded(rows)
    collected: dict[str, np.ndarray] = {}

    def collect(name, inputs):
        collected[name] = inputs[0].numpy()[real]

    for group in groups(config):
        name = group.consumers[0]
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: collect(name, inputs)
        )
    with torch.no_grad():
        model.model(torch.from_numpy(ids))  # causal: what stands behind a row changes nothing in it
    return collected


def _padded(rows: Iterable[Sequence[int]]):
    """Ids (rows, longest) and which of them are real: read at once, each weight goes through memory
    once.
    """
    rows = list(rows)
    lengths = np.array([len(row) for row in rows])
    real = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(real.shape, np.int64)
    ids[real] = np.concatenate(rows)
    return ids, real
