"""Fake quantization: weights rounded to the values that INT4 can hold, still stored as floats.

Quantization-aware training and its merge use it. The rounding is ai-edge-quantizer's with
scripts/recipes/int4.json, so the quantizer later changes nothing in weights rounded here. It is
symmetric: 4 bits in blocks of 32 inputs with a bfloat16 scale, or 8 bits with one scale an output
channel for the projections that the recipe keeps at 8 bits. Works on numpy's and on JAX's arrays.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from gemma_finetune.formats.recipe import read_recipe, weight_type

RECIPE = Path(__file__).parents[2] / "recipes/int4.json"
BLOCK = 32
SMALLEST = 1e-9  # ai-edge-quantizer's lower bound of a block's largest weight

Array = Any  # numpy's or JAX's


@cache
def bits_of(module: str, recipe: Path = RECIPE) -> int:
    """Bits of a projection's weight in INT4's recipe, by its Hugging Face module path."""
    projection = module.rpartition(".")[2]
    scope = f"Linear_{projection};"
    if projection == "up_proj":
        scope += "Linear_gate_proj;"  # the converter joins their names: they read the same input
    dtype, _ = weight_type("FULLY_CONNECTED", scope, read_recipe(recipe))
    return int(dtype.removeprefix("INT"))


def fake_quantized(weight: Array, bits: int, axes: tuple[int, ...] = (-1,)) -> Array:
    """`weight` rounded to 4 or 8 bits: floats of the same shape and dtype.

    `axes`: the neighbouring axes of the weight's inputs; (-1,) fits Hugging Face's (out, in).
    """
    first, last = axes[0] % weight.ndim, axes[-1] % weight.ndim + 1
    inputs = math.prod(weight.shape[first:last])
    block = BLOCK if bits == 4 else inputs

    # (..., in, ...) -> (..., blocks, block, ...)
    blocks = weight.reshape(*weight.shape[:first], inputs // block, block, *weight.shape[last:])
    # (..., blocks, 1, ...): one scale a block
    scale = abs(blocks).max(first + 1, keepdims=True).clip(SMALLEST) / (2 ** (bits - 1) - 1)
    if bits == 4:
        scale = scale.astype(ml_dtypes.bfloat16).astype(np.float16).astype(weight.dtype)
        scale = scale + (scale == 0)  # too small for float16: the weights of the block become 0
    return ((blocks / scale).round() * scale).reshape(weight.shape)


def fake_quantized_embedding(embedding: np.ndarray) -> np.ndarray:
    """An embedding (V, D), float32, rounded to 4 bits as INT4's recipe does it.

    ai-edge-quantizer's own functions rotate it (Hadamard), clip it (OCTAV) and round it; then it
    is rotated back. Unlike a projection, it changes again when it is rounded a second time.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithms.uniform_quantize import (
        hadamard_rotation,
        uniform_quantize_tensor,
    )

    weight = qtyping.TensorQuantizationConfig(
        num_bits=4, granularity=qtyping.QuantGranularity.BLOCKWISE_32
    )
    operation = qtyping.OpInfo(
        op=None,
        op_name=qtyping.TFLOperationName.EMBEDDING_LOOKUP,
        subgraph_op_index=0,
        op_quant_config=qtyping.OpQuantizationConfig(weight_tensor_config=weight),
    )
    found = hadamard_rotation.get_tensor_quant_params(
        operation, weight, np.ascontiguousarray(embedding, np.float32)
    )
    rounded = uniform_quantize_tensor.uniform_dequantize(found.quantized_data, found)
    # The rotation is its own inverse. ai-edge-quantizer has no public function for it.
    return hadamard_rotation._rotate_with_diagonal_hadamard(rounded, axis=1)[0]
