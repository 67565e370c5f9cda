import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_finetune.training import attention
from gemma_finetune.training.attention import blockwise_attention

RNG = np.random.default_rng(0)


def plain_attention(query, key, value, mask, window):
    length, groups = query.shape[1], query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(array, groups, axis=2) for array in (key, value))
    near = jnp.arange(length)[:, None] - jnp.arange(length) < (window or length)
    logits = jnp.where((mask & near)[:, None], jnp.einsum("btnh,bsnh->bnts", query, key), -jnp.inf)
    return jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(logits), value)


@pytest.mark.parametrize("window", [None, 1, 5, 16, 40])
@pytest.mark.parametrize("length", [16, 17, 50])
def test_outputs_and_gradients_are_those_of_plain_attention(monkeypatch, window, length):
    """Two query heads to a key/value head, two conversations and padding in a row, a last block
    that is not full.
    """
    monkeypatch.setattr(attention, "BLOCK", 16)
    arrays = [jnp.array(RNG.normal(size=(2, length, heads, 8)), "float32") for heads in (4, 2, 2)]
    segments = np.sort(RNG.integers(0, 3, (2, length)))
    mask = (segments[:, :, None] == segments[:, None]) & np.tril(np.ones((length, length), bool))
    outer = jnp.array(RNG.normal(size=(2, length, 4, 8)), "float32")

    def summed(attend):
        return lambda *arrays: jnp.sum(outer * attend(*arrays, jnp.array(mask), window))

    found, wanted = (
        f(*arrays, jnp.array(mask), window) for f in (blockwise_attention, plain_attention)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    gradients = (
        jax.grad(summed(f), argnums=(0, 1, 2))(*arrays)
        for f in (blockwise_attention, plain_attention)
    )
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-5)


def test_nothing_of_length_squared_is_kept_for_the_backward_pass():
    query, key, value = (jnp.ones((1, 1024, heads, 8), "float32") for heads in (4, 1, 1))
    mask = jnp.tril(jnp.ones((1, 1024, 1024), bool))
    _, backward = jax.vjp(
        lambda *arrays: blockwise_attention(*arrays, mask, 512), query, key, value
    )
    kept = [leaf for leaf in jax.tree.leaves(backward) if leaf.dtype == jnp.float32]
    assert max(leaf.size for leaf in kept) == query.size
