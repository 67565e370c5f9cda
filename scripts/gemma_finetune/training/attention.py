"""Causal attention for long rows on a CPU, block by block, in float32.

- A block of queries looks at the keys from its window up to its own end: about half of all pairs.
- No probabilities are kept. The backward pass computes them again from each query's normalizer
  (FlashAttention-2: Dao 2023, arXiv:2307.08691; here a block takes all its keys at once, so nothing
  is rescaled).
- Memory is O(length x block), and the time to compile hardly grows with the length.

Shapes: B rows, T tokens, N query heads, K key/value heads, G = N / K query heads for each of them,
H features of a head; t the queries and s the keys of a block.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 256  # queries; rows that are no longer than this gain nothing
SPANS = 4  # into which a row's whole blocks are divided, if it has that many


class Span(NamedTuple):
    """Neighbouring blocks with one compiled loop, because they look at equally many keys."""

    starts: range  # of the blocks
    queries: int  # of a block
    keys: int  # of a block


Residuals = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, list[jax.Array]]


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def blockwise_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, window: int | None
) -> jax.Array:
    """(B, T, N, H) scaled queries, (B, T, K, H) keys and values -> (B, T, N, H), all in float32.

    A token sees itself and the tokens before it in its own segment (`segment_ids`, (B, T)); with a
    `window`, only the last `window` of these.
    """
    return _forward(q, k, v, segment_ids, window)[0]


def _spans(length: int, window: int | None) -> Iterator[Span]:
    """The blocks of a row, span by span. Tokens after the last whole block are a span of one block.

    Without a window, a block takes the keys up to the end of its span, so a long span computes some
    pairs for nothing. Rows of up to SPANS blocks have one block a span, and waste nothing.
    """
    blocks = length // BLOCK
    count = min(blocks, SPANS)
    edges = [BLOCK * (number * blocks // count) for number in range(count + 1)] if count else [0]
    if edges[-1] < length:
        edges.append(length)

    for start, end in pairwise(edges):
        queries = min(BLOCK, end - start)
        keys = end if window is None else min(end, queries + window - 1)
        yield Span(range(start, end, queries), queries, keys)


def _slice(array: jax.Array, start: jax.Array, size: int) -> jax.Array:
    """`size` tokens of (B, T, ...) from `start` on."""
    return jax.lax.dynamic_slice_in_dim(array, start, size, axis=1)


def _first_key(span: Span, start: jax.Array) -> jax.Array:
    """Where the keys of the block begin that begins at `start`."""
    return jnp.maximum(start + span.queries - span.keys, 0)


def _scores(
    q_block: jax.Array,
    k_block: jax.Array,
    segment_ids: jax.Array,
    window: int | None,
    span: Span,
    start: jax.Array,
) -> jax.Array:
    """(B, t, K, G, H) queries, (B, s, K, H) keys -> (B, K, G, t, s); -inf where nothing is seen."""
    first_key = _first_key(span, start)
    q_position = start + jnp.arange(span.queries)
    k_position = first_key + jnp.arange(span.keys)
    distance = q_position[:, None] - k_position  # (t, s)

    q_segment = _slice(segment_ids, start, span.queries)
    k_segment = _slice(segment_ids, first_key, span.keys)
    seen = (q_segment[:, :, None] == k_segment[:, None, :]) & (distance >= 0)  # (B, t, s)
    if window is not None:
        seen = seen & (distance < window)

    scores = jnp.einsum("btkgh,bskh->bkgts", q_block, k_block)
    return jnp.where(seen[:, None, None], scores, -jnp.inf)


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array, window: int | None
) -> tuple[jax.Array, Residuals]:
    rows, _, kv_heads, size = k.shape
    by_kv_head = rows, -1, kv_heads, q.shape[2] // kv_heads, size  # (B, t, K, G, H)
    outputs, normalizers = [], []

    for span in _spans(q.shape[1], window):

        def attend(start: jax.Array, span: Span = span) -> tuple[jax.Array, jax.Array]:
            first_key = _first_key(span, start)
            q_block = _slice(q, start, span.queries).reshape(by_kv_head)
            k_block = _slice(k, first_key, span.keys)  # (B, s, K, H)
            v_block = _slice(v, first_key, span.keys)

            scores = _scores(q_block, k_block, segment_ids, window, span, start)
            normalizer = jax.nn.logsumexp(scores, axis=-1, keepdims=True)  # (B, K, G, t, 1)
            probs = jnp.exp(scores - normalizer)
            output = jnp.einsum("bkgts,bskh->btkgh", probs, v_block)
            return output.reshape(rows, -1, *q.shape[2:]), normalizer  # (B, t, N, H)

        output, normalizer = jax.lax.map(attend, jnp.array(span.starts))
        outputs.append(_join(output))
        normalizers.append(normalizer)  # (blocks, B, K, G, t, 1)

    output = jnp.concatenate(outputs, axis=1)
    return output, (q, k, v, segment_ids, output, normalizers)


def _backward(
    window: int | None, residuals: Residuals, d_out: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    q, k, v, segment_ids, output, normalizers = residuals
    rows, _, kv_heads, size = k.shape
    by_kv_head = rows, -1, kv_heads, q.shape[2] // kv_heads, size  # (B, t, K, G, H)
    d_q, d_k, d_v = [], jnp.zeros_like(k), jnp.zeros_like(v)

    for span, normalizer in zip(_spans(q.shape[1], window), normalizers, strict=True):

        def backward(
            sums: tuple[jax.Array, jax.Array],
            block: tuple[jax.Array, jax.Array],
            span: Span = span,
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            d_k, d_v = sums
            start, normalizer = block
            first_key = _first_key(span, start)
            q_block = _slice(q, start, span.queries).reshape(by_kv_head)
            k_block = _slice(k, first_key, span.keys)  # (B, s, K, H)
            v_block = _slice(v, first_key, span.keys)
            d_out_block = _slice(d_out, start, span.queries).reshape(by_kv_head)
            output_block = _slice(output, start, span.queries).reshape(by_kv_head)

            # The forward pass again
            scores = _scores(q_block, k_block, segment_ids, window, span, start)
            probs = jnp.exp(scores - normalizer)  # (B, K, G, t, s)

            # Gradient of the softmax: the mean of d_probs, weighted by probs, is d_out . output
            d_probs = jnp.einsum("btkgh,bskh->bkgts", d_out_block, v_block)
            mean = jnp.einsum("btkgh,btkgh->bkgt", d_out_block, output_block)
            d_scores = probs * (d_probs - mean[..., None])

            d_q_block = jnp.einsum("bkgts,bskh->btkgh", d_scores, k_block)
            d_k_block = jnp.einsum("bkgts,btkgh->bskh", d_scores, q_block)
            d_v_block = jnp.einsum("bkgts,btkgh->bskh", probs, d_out_block)
            d_k = _add(d_k, d_k_block, first_key)
            d_v = _add(d_v, d_v_block, first_key)
            return (d_k, d_v), d_q_block.reshape(rows, -1, *q.shape[2:])

        blocks = jnp.array(span.starts), normalizer
        (d_k, d_v), d_q_blocks = jax.lax.scan(backward, (d_k, d_v), blocks)
        d_q.append(_join(d_q_blocks))

    return jnp.concatenate(d_q, axis=1), d_k, d_v, None


def _join(blocks: jax.Array) -> jax.Array:
    """(blocks, B, t, ...) -> (B, blocks x t, ...)."""
    count, rows, queries, *rest = blocks.shape
    return blocks.swapaxes(0, 1).reshape(rows, count * queries, *rest)


def _add(total: jax.Array, block: jax.Array, start: jax.Array) -> jax.Array:
    """`total` (B, T, ...) plus `block` (B, s, ...) at the tokens from `start` on."""
    sums = _slice(total, start, block.shape[1]) + block
    return jax.lax.dynamic_update_slice_in_dim(total, sums, start, axis=1)


blockwise_attention.defvjp(_forward, _backward)
