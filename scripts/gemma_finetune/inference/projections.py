"""Projections that read one token fast on a CPU, in place of Keras's own.

- XLA on a CPU widens a bfloat16 kernel to float32 for each product with a bfloat16 result, and for
  each product with a single row. For two rows and a float32 result it reads the kernel as it is.
- It also transposes attention's kernels for each token. Here every kernel is a matrix (outputs,
  inputs), the layout that it reads fastest.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp

from gemma_finetune.models.keras_private import replace_layer
from gemma_finetune.models.library import keras
from gemma_finetune.utils import machine


def lay_out_for_cpu(backbone: keras.Model) -> None:
    """Replaces each projection of a Gemma 3 by one that computes the same. Frees the old kernels.

    Keras still lists the layers that were replaced, so the kernels are deleted by hand.
    """
    for block in backbone.transformer_layers:
        for name in ("query_dense", "key_dense", "value_dense", "output_dense"):
            _replace(block.attention, name)
        for name in ("gating_ffw", "gating_ffw_2", "ffw_linear"):
            _replace(block, name)


def _replace(parent: keras.layers.Layer, name: str) -> None:
    dense = getattr(parent, name)
    replace_layer(parent, name, Projection(dense))
    dense.kernel.value.delete()


class Projection(keras.layers.Layer):
    """`dense`, an EinsumDense without bias: (B, T, *inputs) -> (B, T, *outputs)."""

    def __init__(self, dense: keras.layers.EinsumDense):
        super().__init__(dtype=dense.dtype_policy, name=dense.name)
        assert dense.bias is None and dense.activation is keras.activations.linear
        x_axes, kernel_axes, y_axes = re.split(",|->", dense.equation)
        outputs = [kernel_axes.index(axis) for axis in y_axes if axis in kernel_axes]
        inputs = [kernel_axes.index(axis) for axis in x_axes if axis in kernel_axes]

        kernel = dense.kernel.value
        self.outputs = tuple(kernel.shape[axis] for axis in outputs)
        matrix = kernel.transpose(outputs + inputs).reshape(math.prod(self.outputs), -1)
        self.matrix = keras.Variable(matrix, trainable=False, dtype=dense.compute_dtype)
        self.built = True

    def call(self, x: jax.Array) -> jax.Array:
        rows = x.reshape(-1, self.matrix.shape[1])  # (B x T, inputs)
        y = product(self.matrix.value, rows).astype(x.dtype)
        return y.reshape(*x.shape[:2], *self.outputs)


def product(matrix: jax.Array, rows: jax.Array) -> jax.Array:
    """A matrix (O, I) times each of the rows (R, I) -> (R, O) float32."""
    if matrix.dtype != jnp.bfloat16:
        return jnp.einsum("ri,oi->ro", rows, matrix, preferred_element_type=jnp.float32)
    count = len(rows)
    if count == 1:
        rows = jnp.broadcast_to(rows, (2, rows.shape[1]))  # the same row twice
    if has_amx():
        # The matrix on the left is not packed anew. Without AMX that is slower.
        y = jnp.einsum("oi,ri->or", matrix, rows, preferred_element_type=jnp.float32).T
    else:
        y = jnp.einsum("ri,oi->ro", rows, matrix, preferred_element_type=jnp.float32)
    return y[:count]


@functools.cache
def has_amx() -> bool:
    """Whether JAX computes on a CPU with AMX, Intel's products of bfloat16 tiles."""
    return jax.default_backend() == "cpu" and machine.has_amx()
