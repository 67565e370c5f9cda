"""Weights as INT4 will leave them, still as floats ("fake quantization"): what quantization-aware
training looks at.

The rounding is ai-edge-quantizer's by scripts/recipes/int4.json, so that weights made here pass
through it unchanged: symmetric, 4 bits in blocks of 32 inputs with a bfloat16 scale, 8 bits by
output channel for the projections that the recipe keeps finer. Works on numpy's arrays and on
JAX's.
"""

import math
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np

from gemma_finetune.formats.recipe import asked, read_recipe

RECIPE = Path(__file__).parents[2] / "recipes/int4.json"
BLOCK = 32
SMALLEST = 1e-9  # of a block's largest weight, as in ai-edge-quantizer


@cache
def bits_of(module: str) -> int:
    """Bits of a projection's weight in INT4's recipe, by its Hugging Face module path."""
    projection = module.rpartition(".")[2]
    # As the converter names the operation's output.
    dtype, _ = asked("FULLY_CONNECTED", f"Linear_{projection};", read_recipe(RECIPE))
    return int(dtype.removeprefix("INT"))


def fake_quantized(weight, bits: int, axes: tuple[int, ...] = (-1,)):
    """`weight`, rounded. `axes`: those of its inputs, side by side; (-1,) fits Hugging Face's (out,
    in).
    """
    first, last = axes[0] % weight.ndim, axes[-1] % weight.ndim + 1
    inputs = math.prod(weight.shape[first:last])
    block = BLOCK if bits == 4 else inputs
    blocks = weight.reshape(*weight.shape[:first], inputs // block, block, *weight.shape[last:])
    scale = abs(blocks).max(first + 1, keepdims=True).clip(SMALLEST) / (2 ** (bits - 1) - 1)
    if bits == 4:
        scale = scale.astype(ml_dtypes.bfloat16).astype(np.float16).astype(weight.dtype)
        scale = scale + (scale == 0)  # float16 knows nothing so small; such weights become 0
    return ((blocks / scale).round() * scale).reshape(weight.shape)


def fake_quantized_embedding(embedding: np.ndarray) -> np.ndarray:
    """An embedding (V, D), float32, as the recipe leaves it: Hadamard-rotated, OCTAV-clipped,
    rounded, turned back.

    By ai-edge-quantizer's own functions. Unlike a projection, it does not pass through them a
    second time unchanged.
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
    return hadamard_rotation._rotate_with_diagonal_hadamard(rounded, axis=1)[0]  # its own inverse
