"""Causal attention for long rows on a CPU, block by block, in float32.

A block of queries looks at the keys from its window on to its own end: about half of all pairs, of
which none are kept. The backward pass computes their probabilities again from each query's
normalizer (FlashAttention-2: Dao 2023, arXiv:2307.08691; here a block's keys are taken at once, so
nothing is rescaled on the way).
"""

from functools import partial

import jax
import jax.numpy as jnp

BLOCK = 256  # queries; rows that are no longer gain nothing


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def blockwise_attention(query, key, value, mask, window):
    """(B, T, N, H) queries, scaled, (B, T, K, H) keys and values, (B, T, T) causal mask -> (B, T,
    N, H), float32.

    A query sees the last `window` tokens, its own among them; None: all before it.
    """
    return _forward(query, key, value, mask, window)[0]


def _blocks(length, window):
    """(queries, the keys that they can see) as slices, block by block."""
    for start in range(0, length, BLOCK):
        first = 0 if window is None else max(0, start - window + 1)
        end = min(start + BLOCK, length)
        yield slice(start, end), slice(first, end)


def _logits(query, key, mask, window, queries, keys):
    """(B, K, G, queries, keys) logits of a block, G query heads to a key/value head; -inf where
    nothing is seen.
    """
    grouped = query[:, queries].reshape(
        query.shape[0], -1, key.shape[2], query.shape[2] // key.shape[2], query.shape[3]
    )
    seen = mask[:, queries, keys]
    if window is not None:
        ahead = jnp.arange(queries.start, queries.stop)[:, None] - jnp.arange(keys.start, keys.stop)
        seen = seen & (ahead < window)
    logits = jnp.einsum("btkgh,bskh->bkgts", grouped, key[:, keys])
    return jnp.where(seen[:, None, None], logits, -jnp.inf), grouped


def _forward(query, key, value, mask, window):
    outputs, normalizers = [], []
    for queries, keys in _blocks(query.shape[1], window):
        logits, _ = _logits(query, key, mask, window, queries, keys)
        normalizers.append(jax.nn.logsumexp(logits, axis=-1, keepdims=True))
        probabilities = jnp.exp(logits - normalizers[-1])
        outputs.append(
            jnp.einsum("bkgts,bskh->btkgh", probabilities, value[:, keys]).reshape(
                query[:, queries].shape
            )
        )
    output = jnp.concatenate(outputs, axis=1)
    return output, (query, key, value, mask, output, normalizers)


def _backward(window, kept, gradient):
    query, key, value, mask, output, normalizers = kept
    by_query, by_key, by_value = [], jnp.zeros_like(key), jnp.zeros_like(value)
    for (queries, keys), normalizer in zip(
        _blocks(query.shape[1], window), normalizers, strict=True
    ):
        logits, grouped = _logits(query, key, mask, window, queries, keys)
        probabilities = jnp.exp(logits - normalizer)
        given = gradient[:, queries].reshape(grouped.shape)
        along = jnp.einsum("btkgh,btkgh->bkgt", given, output[:, queries].reshape(grouped.shape))
        errors = probabilities * (
            jnp.einsum("btkgh,bskh->bkgts", given, value[:, keys]) - along[..., None]
        )
        by_query.append(
            jnp.einsum("bkgts,bskh->btkgh", errors, key[:, keys]).reshape(query[:, queries].shape)
        )
        by_key = by_key.at[:, keys].add(jnp.einsum("bkgts,btkgh->bskh", errors, grouped))
        by_value = by_value.at[:, keys].add(jnp.einsum("bkgts,btkgh->bskh", probabilities, given))
    return jnp.concatenate(by_query, axis=1), by_key, by_value, None


blockwise_attention.defvjp(_forward, _backward)
