"""Low-rank adapters (Hu et al., 2021, arXiv:2106.09685) on keras-hub's Gemma 3, without a fork.

    y = W x   ->   y = W x + scale B (A x)        A (rank, in), B (out, rank), scale = alpha / rank

A and B have the shapes and names of the paper and of PEFT, under the Hugging Face module path, so
an adapter converts to PEFT and back without loss. (keras-hub's own `enable_lora` shares B across
heads and has no alpha.)

A quantization-aware adapter trains through the rounding that INT4 will do to the merged weight
(LR-QAT: Bondarenko et al. 2024, arXiv:2406.06385):

    y = Q(W + scale B A) x

Its gradient treats Q as the identity (straight-through, arXiv:1308.3432).

Adapter files are read and written by `formats/lora_file.py`.
"""

import math
from collections.abc import Collection, Iterator
from typing import TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from gemma_finetune.formats.fake_quantization import (
    bits_of,
    fake_quantized,
    fake_quantized_embedding,
)
from gemma_finetune.formats.lora_file import lora_delta
from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.keras_private import replace_layer
from gemma_finetune.models.library import keras
from gemma_finetune.models.projection import project

ops = keras.ops
Array = TypeVar("Array", np.ndarray, jax.Array)

# Hugging Face module name -> (Hugging Face parent, keras-hub parent, keras-hub attribute)
_MODULES = {
    "q_proj": ("self_attn", "attention", "query_dense"),
    "k_proj": ("self_attn", "attention", "key_dense"),
    "v_proj": ("self_attn", "attention", "value_dense"),
    "o_proj": ("self_attn", "attention", "output_dense"),
    "gate_proj": ("mlp", None, "gating_ffw"),
    "up_proj": ("mlp", None, "gating_ffw_2"),
    "down_proj": ("mlp", None, "ffw_linear"),
}


class LoRADense(keras.layers.Layer):
    """A frozen projection plus a low-rank update, which is kept and computed in float32.

    `base` is a keras-hub EinsumDense that maps (B, T, *in) to (B, T, *out); `in_features` and
    `out_features` are the products of those. B starts at zero, so a fresh adapter changes nothing.
    Dropout acts on the adapter's input, as in PEFT. The sum of base and update is rounded to
    `bits`; 0: not at all.
    """

    def __init__(
        self,
        base: keras.layers.EinsumDense,
        config: LoRAConfig,
        seed: int,
        bits: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(dtype="float32", autocast=False, name=name)
        self.base, self.bits, self.folded = base, bits, False
        self.scale, self.dropout = config.scale, config.dropout
        self.seed_generator = keras.random.SeedGenerator(seed) if config.dropout else None
        self.in_features, self.out_features = _features(base)

        # As in PEFT: kaiming-uniform with a = sqrt(5) is uniform in +-1/sqrt(in).
        bound = 1 / math.sqrt(self.in_features)
        init_a = keras.initializers.RandomUniform(-bound, bound, seed=seed)
        shape_a, shape_b = (config.rank, self.in_features), (self.out_features, config.rank)
        self.lora_A = self.add_weight(name="lora_A", shape=shape_a, initializer=init_a)
        self.lora_B = self.add_weight(name="lora_B", shape=shape_b, initializer="zeros")
        self.built = True

    def call(self, x: jax.Array, training: bool | None = None) -> jax.Array:
        """(B, T, *in) -> (B, T, *out), in the dtype of the base's output."""
        if self.bits and not self.folded:
            return self._call_rounded(x)
        y = project(self.base, x)
        if self.folded:
            return y
        return y + self._update(x, y, self.dropout if training else 0.0)

    def _update(self, x: jax.Array, y: jax.Array, dropout: float = 0.0) -> jax.Array:
        """The adapter's part of the output for x, in the shape and dtype of y."""
        flat = ops.reshape(x, (*ops.shape(x)[:2], self.in_features))  # (B, T, in)
        flat = ops.cast(flat, "float32")
        if dropout:
            flat = keras.random.dropout(flat, dropout, seed=self.seed_generator)
        update = self.scale * (flat @ ops.transpose(self.lora_A)) @ ops.transpose(self.lora_B)
        return ops.cast(ops.reshape(update, ops.shape(y)), y.dtype)

    def _call_rounded(self, x: jax.Array) -> jax.Array:
        update = self.scale * (self.lora_B @ self.lora_A)  # (out, in)
        kernel = rounded_kernel(self.base, self.base.kernel.value, self.bits, update)
        y = project(self.base, x, jax.lax.stop_gradient(kernel))

        # Adds zero to y, and the plain adapter's gradient to A's and B's: straight-through.
        straight_through = self._update(jax.lax.stop_gradient(x), y)
        return y + (straight_through - jax.lax.stop_gradient(straight_through))

    def fold(self) -> None:
        """Replaces the base's kernel by the rounded sum, for inference.

        Computed exactly as the merge computes it. Another way to sum W + B A would differ in the
        last bit, and then now and then by a whole step of the rounding.
        """
        update = lora_delta(np.asarray(self.lora_A), np.asarray(self.lora_B), self.scale)
        kernel = rounded_kernel(self.base, _to_numpy(self.base.kernel), self.bits, update)
        self.base.kernel.assign(kernel)
        self.folded = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self.base.compute_output_shape(input_shape)


def _axes(dense: keras.layers.EinsumDense) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the kernel's input axes, which the equation contracts, and its output axes)."""
    inputs, rest = dense.equation.split(",")
    kernel, _ = rest.split("->")
    contracted = tuple(axis for axis, letter in enumerate(kernel) if letter in inputs)
    kept = tuple(axis for axis, letter in enumerate(kernel) if letter not in inputs)
    return contracted, kept


def _features(dense: keras.layers.EinsumDense) -> tuple[int, int]:
    """(in, out) of an EinsumDense: the products of the kernel's input and output axes."""
    inputs, outputs = _axes(dense)
    shape = dense.kernel.shape
    return math.prod(shape[axis] for axis in inputs), math.prod(shape[axis] for axis in outputs)


def rounded_kernel(
    dense: keras.layers.EinsumDense,
    kernel: Array,
    bits: int,
    update: Array | None = None,
) -> Array:
    """`kernel`, in the layout of dense's own, plus an `update` (out, in) if given, rounded."""
    inputs, outputs = _axes(dense)
    rounded = kernel.astype("float32")
    if update is not None:
        axes = outputs + inputs  # the order of the update's axes once they are split up
        split = update.reshape([kernel.shape[axis] for axis in axes])
        rounded = rounded + split.transpose(np.argsort(axes))
    return fake_quantized(rounded, bits, inputs).astype(kernel.dtype)


def apply_lora(backbone: keras.Model, config: LoRAConfig, seed: int = 0) -> dict[str, LoRADense]:
    """Freezes `backbone` and puts an adapter on every target of every layer, in place.

    Returns the adapters by Hugging Face module path:

        backbone.transformer_layers[0].attention.query_dense     EinsumDense -> LoRADense(base=it)
        {"model.layers.0.self_attn.q_proj": <that LoRADense>, ...}
    """
    for variable in backbone.variables:
        variable.trainable = False
    if config.quantization_aware:
        _round_others(backbone, config.targets)

    adapters = {}
    for number, (path, parent, attribute) in enumerate(target_modules(backbone, config.targets)):
        base = getattr(parent, attribute)
        bits = bits_of(path) if config.quantization_aware else 0
        adapter = LoRADense(base, config, seed * 10_007 + number, bits, name=f"{attribute}_lora")
        replace_layer(parent, attribute, adapter)
        adapters[path] = adapter
    return adapters


def _round_others(backbone: keras.Model, targets: Collection[str]) -> None:
    """Rounds all weights without an adapter: the embedding and the projections not in `targets`."""
    others = [name for name in _MODULES if name not in targets]
    for path, parent, attribute in target_modules(backbone, others):
        dense = getattr(parent, attribute)
        dense.kernel.assign(rounded_kernel(dense, _to_numpy(dense.kernel), bits_of(path)))
    embeddings = backbone.token_embedding.embeddings
    embeddings.assign(fake_quantized_embedding(_to_numpy(embeddings)))


def _to_numpy(variable: keras.Variable) -> np.ndarray:
    """A variable's value, gathered where it is spread over several machines."""
    value = variable.value
    return np.asarray(value if value.is_fully_addressable else process_allgather(value, tiled=True))


def target_modules(
    backbone: keras.Model, targets: Collection[str]
) -> Iterator[tuple[str, keras.layers.Layer, str]]:
    """(Hugging Face module path, layer that holds the projection, name of its attribute there).

    For every target of every layer, in the order of the layers.
    """
    for index, block in enumerate(backbone.transformer_layers):
        for name, (hf_parent, parent, attribute) in _MODULES.items():
            if name in targets:
                path = f"model.layers.{index}.{hf_parent}.{name}"
                yield path, getattr(block, parent) if parent else block, attribute


def adapter_weights(adapters: dict[str, LoRADense]) -> dict[str, np.ndarray]:
    """{"<module path>.lora_A": float32 (rank, in), "<module path>.lora_B": float32 (out, rank)}."""
    weights = {}
    for path, layer in adapters.items():
        weights[f"{path}.lora_A"] = np.asarray(layer.lora_A, "float32")
        weights[f"{path}.lora_B"] = np.asarray(layer.lora_B, "float32")
    return weights


def set_adapter_weights(adapters: dict[str, LoRADense], weights: dict[str, np.ndarray]) -> None:
    """The inverse of `adapter_weights`, for inference: quantization-aware adapters are folded."""
    for path, layer in adapters.items():
        layer.lora_A.assign(weights[f"{path}.lora_A"])
        layer.lora_B.assign(weights[f"{path}.lora_B"])
        if layer.bits:
            layer.fold()
