"""Folds an adapter into its base: W + scale x B A, in float32, tensor by tensor.

It works on the Hugging Face files themselves, with numpy alone, so no framework can cast, transpose
or drop anything. (A merge in bfloat16 costs 5e-3 in the logits.)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np

from gemma_finetune.formats.fake_quantization import (
    bits_of,
    fake_quantized,
    fake_quantized_embedding,
)
from gemma_finetune.formats.lora_file import Adapter
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.models.config import Target


def target_shapes(base: str | Path, targets: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """{module path: (out, in)} of every weight in the base that an adapter on `targets` changes."""
    shapes = {}
    with open_weights(Path(base) / "model.safetensors") as file:
        for name in file.keys():
            if name.endswith(".weight") and name.split(".")[-2] in targets:
                shapes[name.removesuffix(".weight")] = tuple(file.get_slice(name).get_shape())
    return shapes


def read_tensors(directory: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a model directory as float32, by Hugging Face name."""
    with open_weights(Path(directory) / "model.safetensors") as file:
        return {name: file.get_tensor(name).astype("float32") for name in file.keys()}


def merge_lora_weights(
    tensors: Mapping[str, np.ndarray], adapter: Adapter
) -> dict[str, np.ndarray]:
    """Base tensors -> merged tensors. All but the adapter's targets stay the same arrays."""
    merged = dict(tensors)
    for module in adapter.modules:
        name = f"{module}.weight"
        if name in tensors:
            merged[name] = tensors[name] + adapter.delta(module)
    return merged


def fake_quantized_model(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Merged tensors, rounded to what INT4 can hold.

    A quantization-aware adapter was trained to give this model.
    """
    return {
        name: _fake_quantized(name.removesuffix(".weight"), tensor)
        for name, tensor in tensors.items()
    }


def _fake_quantized(module: str, tensor: np.ndarray) -> np.ndarray:
    name = module.split(".")[-1]
    if name == "embed_tokens":
        return fake_quantized_embedding(tensor)
    if name in get_args(Target):
        return fake_quantized(tensor, bits_of(module))
    return tensor
