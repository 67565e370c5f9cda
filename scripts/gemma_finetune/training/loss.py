"""Cross-entropy summed over positions, with the logits computed in chunks.

Each chunk's gradient is computed while its logits are at hand. So no (batch, length, vocabulary)
array ever exists, which for Gemma's 262,144 tokens would be most of the memory and half of the
time.

Shapes: B rows, S positions, D features, V tokens of the vocabulary.
"""

import math

import jax
import jax.numpy as jnp

# Of one chunk's float32 logits. Smaller chunks read the embedding more often than they use it.
CHUNK_BYTES = 256 << 20
CHUNK_SHARE = 32  # of an accelerator's memory, if that is more: 2 GB of an H100's, 12 % faster


def chunk_limit() -> int:
    """Bytes that a chunk's logits may take on the device that computes."""
    memory = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    return max(CHUNK_BYTES, memory.get("bytes_limit", 0) // CHUNK_SHARE)


def summed_loss(
    hidden: jax.Array,
    embeddings: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    chunk_bytes: float = math.inf,
) -> jax.Array:
    """Sum over positions of weight x cross-entropy, in float32.

    hidden (B, S, D), embeddings (V, D), labels and weights (B, S). If the logits would take more
    than `chunk_bytes`, they are computed chunk by chunk; `embeddings` then get no gradient. A chunk
    is the next few positions of every row. It costs nothing if they all have weight 0.
    """
    rows, positions = labels.shape
    bytes_of_a_position = 4 * embeddings.shape[0] * rows
    size = max(1, int(min(positions, chunk_bytes // bytes_of_a_position)))
    count = -(-positions // size)
    if count == 1:
        return _cross_entropy(hidden, embeddings, labels, weights)[0]

    def chunks(array: jax.Array) -> jax.Array:  # (B, S, ...) -> (count, B, size, ...)
        padding = [(0, 0), (0, count * size - positions)] + [(0, 0)] * (array.ndim - 2)
        array = jnp.pad(array, padding)
        return array.reshape(rows, count, size, *array.shape[2:]).swapaxes(0, 1)

    def no_loss(*_: jax.Array) -> jax.Array:
        return jnp.float32(0)

    def loss_if_any(chunk: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        hidden, labels, weights = chunk
        arguments = hidden, embeddings, labels, weights
        return jax.lax.cond(weights.any(), _frozen_loss, no_loss, *arguments)

    losses = jax.lax.map(loss_if_any, (chunks(hidden), chunks(labels), chunks(weights)))
    return losses.sum()


def _cross_entropy(
    hidden: jax.Array, embeddings: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(sum of weight x cross-entropy, its gradient by the logits (..., V))."""
    logits = jnp.einsum("...d,vd->...v", hidden, embeddings, preferred_element_type=jnp.float32)
    normalizer = jax.nn.logsumexp(logits, axis=-1)  # (...)
    label_logits = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    loss = jnp.sum(weights * (normalizer - label_logits))

    probs = jnp.exp(logits - normalizer[..., None])
    one_hot = labels[..., None] == jnp.arange(embeddings.shape[0])
    d_logits = weights[..., None] * (probs - one_hot)
    return loss, d_logits


@jax.custom_vjp
def _frozen_loss(
    hidden: jax.Array, embeddings: jax.Array, labels: jax.Array, weights: jax.Array
) -> jax.Array:
    """The loss of a chunk. Its gradient is computed with it, so no logits are computed twice."""
    return _cross_entropy(hidden, embeddings, labels, weights)[0]


def _loss_and_gradient(
    hidden: jax.Array, embeddings: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    loss, d_logits = _cross_entropy(hidden, embeddings, labels, weights)
    d_logits = d_logits.astype(hidden.dtype)
    d_hidden = jnp.einsum("...v,vd->...d", d_logits, embeddings, preferred_element_type=jnp.float32)
    return loss, d_hidden.astype(hidden.dtype)


def _scaled_gradient(d_hidden: jax.Array, d_loss: jax.Array) -> tuple:
    return (d_loss * d_hidden).astype(d_hidden.dtype), None, None, None


_frozen_loss.defvjp(_loss_and_gradient, _scaled_gradient)
