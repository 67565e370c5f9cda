"""Low-rank adapters (Hu et al., 2021, arXiv:2106.09685) on keras-hub's Gemma 3, without a fork of it.

    y = W x   ->   y = W x + scale B (A x)        A (rank, in), B (out, rank), scale = alpha / rank

A and B are shaped and named as in the paper and in PEFT, under the Hugging Face module path, so an adapter
goes both ways without loss. (keras-hub's own `enable_lora` shares B across heads and knows no alpha.)
Files live in `lora_file.py`.
"""

import math
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

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
    """A frozen projection with a low-rank update beside it; the update is kept and computed in float32.

    `base` is a keras-hub EinsumDense that maps (B, T, *in) to (B, T, *out); `in` and `out` are the products of
    those. B starts at zero, so a fresh adapter changes nothing. Dropout is on the adapter's input, as in PEFT.
    """

    def __init__(self, base: keras.layers.EinsumDense, config: LoRAConfig, seed: int, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.base = base
        self.scale, self.dropout = config.scale, config.dropout
        self.seed_generator = keras.random.SeedGenerator(seed) if config.dropout else None
        self.in_features, self.out_features = _features(base)
        # As PEFT: kaiming-uniform with a = sqrt(5) is uniform in +-1/sqrt(in).
        bound = 1 / math.sqrt(self.in_features)
        init_a = keras.initializers.RandomUniform(-bound, bound, seed=seed)
        self.lora_A = self.add_weight(name="lora_A", shape=(config.rank, self.in_features), initializer=init_a)
        self.lora_B = self.add_weight(name="lora_B", shape=(self.out_features, config.rank), initializer="zeros")
        self.built = True

    def call(self, x, training=None):
        y = project(self.base, x)
        flat = ops.cast(ops.reshape(x, (*ops.shape(x)[:2], self.in_features)), "float32")
        if training and self.dropout:
            flat = keras.random.dropout(flat, self.dropout, seed=self.seed_generator)
        update = self.scale * (flat @ ops.transpose(self.lora_A)) @ ops.transpose(self.lora_B)
        return y + ops.cast(ops.reshape(update, ops.shape(y)), y.dtype)

    def compute_output_shape(self, input_shape):
        return self.base.compute_output_shape(input_shape)


def _features(dense):
    """(in, out) of an EinsumDense: products of the kernel's axes that the equation contracts and keeps."""
    inputs, rest = dense.equation.split(",")
    kernel, _ = rest.split("->")
    contracted = [axis in inputs for axis in kernel]
    sizes = list(zip(dense.kernel.shape, contracted, strict=True))
    return math.prod(n for n, c in sizes if c), math.prod(n for n, c in sizes if not c)


def apply_lora(backbone, config: LoRAConfig, seed: int = 0) -> dict[str, LoRADense]:
    """Freezes `backbone` and puts an adapter on every target of every layer, in place.

    Returns the adapters by Hugging Face module path: {"model.layers.0.self_attn.q_proj": LoRADense, ...}.
    """
    for variable in backbone.variables:
        variable.trainable = False
    adapters = {}
    for number, (path, parent, attribute) in enumerate(target_modules(backbone, config.targets)):
        adapter = LoRADense(getattr(parent, attribute), config, seed * 10_007 + number, name=attribute + "_lora")
        parent._tracker.unlock()  # Keras locks a built layer; its own enable_lora does the same
        setattr(parent, attribute, adapter)
        parent._tracker.lock()
        adapters[path] = adapter
    return adapters


def target_modules(backbone, targets) -> Iterator[tuple[str, keras.layers.Layer, str]]:
    """(Hugging Face module path, layer that holds the projection, attribute name) for each target of each layer."""
    for index, block in enumerate(backbone.transformer_layers):
        for name, (hf_parent, parent, attribute) in _MODULES.items():
            if name in targets:
                yield f"model.layers.{index}.{hf_parent}.{name}", getattr(block, parent) if parent else block, attribute


def adapter_weights(adapters: dict[str, LoRADense]) -> dict[str, np.ndarray]:
    """{"<module path>.lora_A": float32 (rank, in), "<module path>.lora_B": float32 (out, rank), ...}."""
    return {
        f"{path}.{name}": np.asarray(getattr(layer, name), "float32")
        for path, layer in adapters.items()
        for name in ("lora_A", "lora_B")
    }


def set_adapter_weights(adapters: dict[str, LoRADense], weights: dict[str, np.ndarray]) -> None:
    """The inverse of `adapter_weights`."""
    for path, layer in adapters.items():
        layer.lora_A.assign(weights[f"{path}.lora_A"])
        layer.lora_B.assign(weights[f"{path}.lora_B"])
