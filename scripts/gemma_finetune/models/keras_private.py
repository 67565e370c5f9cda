"""All that this project uses of Keras and keras-hub which is not public.

Each part says why the public way will not do. tests/models/test_keras_private.py fails by name
where a new version moves or changes one of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from gemma_finetune.models.library import keras


def replace_layer(parent: keras.layers.Layer, attribute: str, layer: keras.layers.Layer) -> None:
    """Sets `attribute` of a built layer to another layer, and tracks that layer's weights.

    Private: `Layer._tracker`. Keras locks a layer once it is built and offers no public way to
    unlock it; without tracking, the new weights would not be trained. Its own `enable_lora` does
    the same.
    """
    parent._tracker.unlock()
    setattr(parent, attribute, layer)
    parent._tracker.lock()


def attend(
    attention: keras.layers.Layer, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array
) -> jax.Array:
    """What keras-hub's Gemma 3 attention computes between its projections.

    (B, T, N, H) unscaled queries, (B, T, K, H) keys and values, (B, T, T) causal mask, to which
    the layer adds its window -> (B, T, N, H).

    Private: `CachedGemma3Attention._compute_attention`. The public call computes the projections
    as well, in a product that is slow on a CPU (projection.py).

    Private, too: `_use_fused_attention_op`, which picks cuDNN's kernel on a GPU. With it a
    training step of deterministic operations does not run (IndexError; JAX 0.11.2 on an H100).
    """
    if jax.default_backend() == "gpu":
        attention._use_fused_attention_op = lambda: False
    return attention._compute_attention(q, k, v, mask)


@contextmanager
def without_random_weights() -> Iterator[None]:
    """Layers built in the block have a shape and no values. For weights that a file gives at once.

    Replaces `VarianceScaling.__call__` for the block. keras-hub draws random numbers for every
    weight before it reads a file, and takes no other initializer: for the embedding of a real
    Gemma 3 that is 15 s, and four times the embedding's memory.
    """
    initializer: Any = keras.initializers.VarianceScaling
    draw = initializer.__call__
    initializer.__call__ = _without_values
    try:
        yield
    finally:
        initializer.__call__ = draw


def _without_values(self: Any, shape: tuple[int, ...], dtype: str | None = None) -> jax.Array:
    """Zeros whose memory is given back at once. A model on several devices needs them: it divides
    them among those.
    """
    zeros = keras.ops.zeros(shape, dtype)
    if keras.distribution.distribution() is None:
        zeros.delete()
    return zeros


@contextmanager
def weights_one_at_a_time() -> Iterator[None]:
    """In the block a weight read from a `.safetensors` file is in memory once, beside its bytes.

    Private: `SafetensorLoader.port_weight`. It keeps the variable's zeros until the weight is
    there, and has numpy cast it first: for the embedding of a real Gemma 3 in float32, three times
    its memory.
    """
    from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

    def port_weight(
        loader: Any, keras_variable: keras.Variable, hf_weight_key: str, hook_fn: Any = None
    ) -> None:
        keras_variable.value.delete()
        weight = loader.get_tensor(hf_weight_key)
        if hook_fn:
            weight = hook_fn(weight, list(keras_variable.shape))
        weight = jax.device_put(weight)  # jnp.asarray copies twice
        keras_variable.assign(weight.block_until_ready())  # numpy's own is freed by then

    original = SafetensorLoader.port_weight
    SafetensorLoader.port_weight = port_weight
    try:
        yield
    finally:
        SafetensorLoader.port_weight = original


class Muon(keras.optimizers.Muon):
    """Muon (Jordan, 2024) for matrices, one attention head at a time; AdamW for everything else.

    Private: `Muon._should_use_adamw`. Keras gives every variable that is not two-dimensional to
    AdamW, attention's (heads, in, out) kernels among them. The public arguments can only exclude
    more variables.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) < 2 or "embedding" in variable.path
