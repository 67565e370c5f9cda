import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.training import attention
from gemma_finetune.training.attention import BLOCK, blockwise_attention

pytestmark = pytest.mark.slow


def plain_attention(q, k, v, segment_ids, window):
    """With the whole matrix of probabilities."""
    length, groups = q.shape[1], q.shape[2] // k.shape[2]
    k, v = jnp.repeat(k, groups, axis=2), jnp.repeat(v, groups, axis=2)
    distance = jnp.arange(length)[:, None] - jnp.arange(length)
    near = (distance >= 0) & (distance < (window or length))
    seen = near & (segment_ids[:, :, None] == segment_ids[:, None])
    scores = jnp.where(seen[:, None], jnp.einsum("btnh,bsnh->bnts", q, k), -jnp.inf)
    return jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(scores), v)


def make_rows(length, heads=4, size=8, segments=3, seed=0):
    """q, k, v of two rows, two query heads for each key/value head; and their segments, sorted."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(2, length, n, size)) for n in (heads, heads // 2, heads // 2))
    segment_ids = np.sort(rng.integers(0, segments, (2, length)))
    return *(jnp.array(array, "float32") for array in (q, k, v)), jnp.array(segment_ids)


# Nearly all of the time here is XLA's, for programs that run once: it need not make them fast.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}


def output_and_gradients(attend, q, k, v, segment_ids, window):
    """[output, d_q, d_k, d_v] for some gradient of the output."""

    @partial(jax.jit, compiler_options=QUICK_COMPILE)
    def run(q, k, v, d_out):
        output, backward = jax.vjp(lambda *qkv: attend(*qkv, segment_ids, window), q, k, v)
        return [output, *backward(d_out)]

    return run(q, k, v, jnp.array(np.random.default_rng(9).normal(size=q.shape), "float32"))


def assert_plain(rows, window):
    ours = output_and_gradients(blockwise_attention, *rows, window)
    wanted = output_and_gradients(plain_attention, *rows, window)
    for name, found, right in zip(("output", "d_q", "d_k", "d_v"), ours, wanted, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("window", [None, 1, 16, 40])
@pytest.mark.parametrize("length", [5, 17, 80, 203])
def test_outputs_and_gradients_are_those_of_plain_attention(monkeypatch, window, length):
    """Fewer blocks than spans, as many and more; a last block that is not full."""
    monkeypatch.setattr(attention, "BLOCK", 16)
    assert_plain(make_rows(length), window)


@settings(derandomize=True, deadline=None, max_examples=8)
@given(
    st.integers(1, 150), st.none() | st.integers(1, 160), st.integers(1, 12), st.integers(0, 10**6)
)
def test_of_any_length_window_and_segments(length, window, segments, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK", 8)
        assert_plain(make_rows(length, segments=segments, seed=seed), window)


@pytest.mark.parametrize("window", [None, 512])
@pytest.mark.parametrize("length", [1025, 2048])
def test_long_rows_are_those_of_plain_attention(window, length):
    assert_plain(make_rows(length, heads=2), window)


@pytest.mark.parametrize("window", [None, 512])
def test_memory_and_compile_time_do_not_grow_with_the_square_of_the_length(window):
    """Four times the length: four times the memory, and the same code."""
    memory, seconds = [], []
    for length in (4 * BLOCK, 16 * BLOCK):
        q, k, v, segment_ids = make_rows(length, heads=2)

        def loss(q, k, v, segment_ids=segment_ids):
            return blockwise_attention(q, k, v, segment_ids, window).sum()

        lowered = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(q, k, v)
        start = time.process_time()
        compiled = lowered.compile()
        seconds.append(time.process_time() - start)
        memory.append(compiled.memory_analysis().temp_size_in_bytes)
    assert memory[1] < 5 * memory[0]
    assert seconds[1] < 2 * seconds[0] + 1  # an unrolled loop took 4 times as long


def test_nothing_of_length_squared_is_kept_for_the_backward_pass():
    q, k, v, segment_ids = make_rows(1024)
    _, backward = jax.vjp(lambda *qkv: blockwise_attention(*qkv, segment_ids, 512), q, k, v)
    assert max(leaf.size for leaf in jax.tree.leaves(backward)) == q.size
