"""Low-rank adapters (Hu et al., 2021, arXiv:2106.09685) on keras-hub's Gemma 3, without a fork of
it.

    y = W x   ->   y = W x + scale B (A x)        A (rank, in), B (out, rank), scale = alpha / rank

A and B are shaped and named as in the paper and in PEFT, under the Hugging Face module path, so an
adapter goes both ways without loss. (keras-hub's own `enable_lora` shares B across heads and knows
no alpha.)

A quantization-aware adapter is one of a rounded base, and is rounded with it (LR-QAT: Bondarenko et
al. 2024, arXiv:2406.06385), so that training sees what INT4 will do to the merged weight:

    y = Q(W + scale B A) x        whose gradient takes Q for the identity (straight-through, arXiv:1308.3432)
Files live in `lora_file.py`.
"""

import math
from collections.abc import Iterator

import jax
import keras
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from keras import ops

from gemma_finetune.formats.fake_quantization import (
    bits_of,
    fake_quantized,
    fake_quantized_embedding,
)
from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.projection import project

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
    """A frozen projection with a low-rank update beside it; the update is kept and computed in
    float32.

    `base` is a keras-hub EinsumDense that maps (B, T, *in) to (B, T, *out); `in` and `out` are the
    products of those. B starts at zero, so a fresh adapter changes nothing. Dropout is on the
    adapter's input, as in PEFT. `bits`, if any, are what the sum of both is rounded to.
    """

    def __init__(
        self,
        base: keras.layers.EinsumDense,
        config: LoRAConfig,
        seed: int,
        bits: int | None = None,
        **kwargs,
    ):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.base, self.bits, self.folded = base, bits, False
        self.scale, self.dropout = config.scale, config.dropout
        self.seed_generator = keras.random.SeedGenerator(seed) if config.dropout else None
        self.in_features, self.out_features = _features(base)
        # As PEFT: kaiming-uniform with a = sqrt(5) is uniform in +-1/sqrt(in).
        bound = 1 / math.sqrt(self.in_features)
        init_a = keras.initializers.RandomUniform(-bound, bound, seed=seed)
        self.lora_A = self.add_weight(
            name="lora_A", shape=(config.rank, self.in_features), initializer=init_a
        )
        self.lora_B = self.add_weight(
            name="lora_B", shape=(self.out_features, config.rank), initializer="zeros"
        )
        self.built = True

    def call(self, x, training=None):
        if self.bits and not self.folded:
            return self._call_rounded(x)
        y = project(self.base, x)
        if self.folded:
            return y
        return y + self._update(x, y, self.dropout if training else 0.0)

    def _update(self, x, y, dropout=0.0):
        """The adapter's part for x, in the shape and dtype of y."""
        flat = ops.cast(ops.reshape(x, (*ops.shape(x)[:2], self.in_features)), "float32")
        if dropout:
            flat = keras.random.dropout(flat, dropout, seed=self.seed_generator)
        update = self.scale * (flat @ ops.transpose(self.lora_A)) @ ops.transpose(self.lora_B)
        return ops.cast(ops.reshape(update, ops.shape(y)), y.dtype)

    def _call_rounded(self, x):
        kernel = rounded_kernel(
            self.base, self.base.kernel.value, self.bits, self.scale * (self.lora_B @ self.lora_A)
        )
        y = project(self.base, x, jax.lax.stop_gradient(kernel))
        update = self._update(
            jax.lax.stop_gradient(x), y
        )  # is there for A's and B's gradient, and adds nothing
        return y + (update - jax.lax.stop_gradient(update))

    def fold(self):
        """Puts what is rounded in the kernel's place, for inference; by numpy and as the merge does
        it, to the bit.

        Two ways to sum W + B A differ in the last bit, and then here and there by a whole step of
        the rounding.
        """
        update = np.float32(self.scale) * (np.asarray(self.lora_B) @ np.asarray(self.lora_A))
        self.base.kernel.assign(
            rounded_kernel(self.base, _to_numpy(self.base.kernel), self.bits, update)
        )
        self.folded = True

    def compute_output_shape(self, input_shape):
        return self.base.compute_output_shape(input_shape)


def _axes(dense):
    """(those of the kernel's axes that the equation contracts, those that it keeps)."""
    inputs, rest = dense.equation.split(",")
    kernel, _ = rest.split("->")
    axes = range(len(kernel))
    return tuple(n for n in axes if kernel[n] in inputs), tuple(
        n for n in axes if kernel[n] not in inputs
    )


def _features(dense):
    """(in, out) of an EinsumDense."""
    return tuple(math.prod(dense.kernel.shape[axis] for axis in axes) for axes in _axes(dense))


def rounded_kernel(dense, kernel, bits: int, update=None):
    """`kernel`, which is that of the EinsumDense, with an `update` (out, in) to it if there is one,
    rounded.
    """
    inputs, outputs = _axes(dense)
    rounded = kernel.astype("float32")
    if update is not None:
        axes = outputs + inputs
        rounded = rounded + update.reshape([kernel.shape[axis] for axis in axes]).transpose(
            np.argsort(axes)
        )
    return fake_quantized(rounded, bits, inputs).astype(kernel.dtype)


def apply_lora(backbone, config: LoRAConfig, seed: int = 0) -> dict[str, LoRADense]:
    """Freezes `backbone` and puts an adapter on every target of every layer, in place.

    Returns the adapters by Hugging Face module path: {"model.layers.0.self_attn.q_proj": LoRADense,
    ...}.
    """
    for variable in backbone.variables:
        variable.trainable = False
    if config.quantization_aware:
        _round_others(backbone, config.targets)
    adapters = {}
    for number, (path, parent, attribute) in enumerate(target_modules(backbone, config.targets)):
        bits = bits_of(path) if config.quantization_aware else None
        name = attribute + "_lora"
        adapter = LoRADense(
            getattr(parent, attribute), config, seed * 10_007 + number, bits, name=name
        )
        parent._tracker.unlock()  # Keras locks a built layer; its own enable_lora does the same
        setattr(parent, attribute, adapter)
        parent._tracker.lock()
        adapters[path] = adapter
    return adapters


def _round_others(backbone, targets):
    """Rounds what carries no adapter: the embedding, and the projections that are no targets."""
    for path, parent, attribute in target_modules(
        backbone, [name for name in _MODULES if name not in targets]
    ):
        dense = getattr(parent, attribute)
        dense.kernel.assign(rounded_kernel(dense, _to_numpy(dense.kernel), bits_of(path)))
    embeddings = backbone.token_embedding.embeddings
    embeddings.assign(fake_quantized_embedding(_to_numpy(embeddings)))


def _to_numpy(variable) -> np.ndarray:
    """A variable's value, put together where it is spread over several machines."""
    value = variable.value
    return np.asarray(value if value.is_fully_addressable else process_allgather(value, tiled=True))


def target_modules(backbone, targets) -> Iterator[tuple[str, keras.layers.Layer, str]]:
    """(Hugging Face module path, layer that holds the projection, attribute name) for each target
    of each layer.
    """
    for index, block in enumerate(backbone.transformer_layers):
        for name, (hf_parent, parent, attribute) in _MODULES.items():
            if name in targets:
                yield (
                    f"model.layers.{index}.{hf_parent}.{name}",
                    getattr(block, parent) if parent else block,
                    attribute,
                )


def adapter_weights(adapters: dict[str, LoRADense]) -> dict[str, np.ndarray]:
    """{"<module path>.lora_A": float32 (rank, in), "<module path>.lora_B": float32 (out, rank),
    ...}.
    """
    return {
        f"{path}.{name}": np.asarray(getattr(layer, name), "float32")
        for path, layer in adapters.items()
        for name in ("lora_A", "lora_B")
    }


def set_adapter_weights(adapters: dict[str, LoRADense], weights: dict[str, np.ndarray]) -> None:
    """The inverse of `adapter_weights`, for inference: quantization-aware adapters are folded."""
    for path, layer in adapters.items():
        layer.lora_A.assign(weights[f"{path}.lora_A"])
        layer.lora_B.assign(weights[f"{path}.lora_B"])
        if layer.bits:
            layer.fold()
