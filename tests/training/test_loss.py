import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_finetune.training import loss
from gemma_finetune.training.loss import CHUNK_BYTES, chunk_limit, summed_loss

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
VOCABULARY = 50


def plain_loss(hidden, embeddings, labels, weights):
    """With all the logits at once."""
    log_probs = jax.nn.log_softmax(hidden @ embeddings.T)
    of_labels = jnp.take_along_axis(log_probs, labels[..., None], axis=2)[..., 0]
    return -jnp.sum(weights * of_labels)


@pytest.mark.parametrize("positions", [1, 2, 5, 7, 11])
def test_chunked_loss_and_gradient_equal_the_plain_ones(positions):
    """Of 3 rows x 11 positions, `positions` of each row at a time; the last ones weigh nothing."""
    hidden = jnp.array(RNG.normal(size=(3, 11, 16)))
    embeddings = jnp.array(RNG.normal(size=(VOCABULARY, 16)))
    labels = jnp.array(RNG.integers(0, VOCABULARY, (3, 11)))
    weights = jnp.array(RNG.integers(0, 3, (3, 11)).astype("float32"))
    weights = weights.at[:, 8:].set(0).at[0, 5:].set(0)

    def chunked(hidden):
        chunk_bytes = 4 * VOCABULARY * 3 * positions
        return 3 * summed_loss(hidden, embeddings, labels, weights, chunk_bytes)

    loss, gradient = jax.jit(jax.value_and_grad(chunked))(hidden)
    wanted, wanted_gradient = jax.value_and_grad(plain_loss)(hidden, embeddings, labels, weights)
    np.testing.assert_allclose([loss, chunked(hidden)], 3 * wanted, rtol=1e-5)
    np.testing.assert_allclose(gradient, 3 * wanted_gradient, atol=1e-5)


@pytest.mark.parametrize(
    ("memory", "limit"),
    [(None, CHUNK_BYTES), ({}, CHUNK_BYTES), ({"bytes_limit": 64 << 30}, 2 << 30)],
)
def test_a_chunk_takes_a_share_of_an_accelerators_memory(monkeypatch, memory, limit):
    class Device:
        def memory_stats(self):
            return memory

    monkeypatch.setattr(loss.jax, "local_devices", lambda: [Device()])
    assert chunk_limit() == limit


def test_a_chunk_without_weight_is_not_computed():
    hidden = jnp.ones((2, 3, 16), "float32").at[:, 2].set(jnp.nan)
    embeddings = jnp.ones((VOCABULARY, 16), "float32")
    labels = jnp.zeros((2, 3), "int32")
    weights = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]], "float32")
    assert jnp.isfinite(summed_loss(hidden, embeddings, labels, weights, 4 * VOCABULARY * 2))


def test_no_array_of_batch_length_vocabulary_exists():
    """The compiled gradient takes less memory than one such array; unchunked it takes more."""
    rows, positions, vocabulary = 4, 64, 4096
    hidden = jnp.ones((rows, positions, 16), "float32")
    embeddings = jnp.ones((vocabulary, 16), "float32")
    labels = jnp.zeros((rows, positions), "int32")
    weights = jnp.ones((rows, positions), "float32")

    def memory(chunk_bytes):
        def loss(hidden):
            return summed_loss(hidden, embeddings, labels, weights, chunk_bytes)

        compiled = jax.jit(jax.grad(loss)).lower(hidden).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    logits = 4 * rows * positions * vocabulary  # bytes
    assert memory(logits // 16) < logits / 2
    assert memory(logits) > logits / 2
