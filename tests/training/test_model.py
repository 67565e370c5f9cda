import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.ad_checkpoint import saved_residuals

from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.models.lora import apply_lora
from gemma_finetune.training import attention
from gemma_finetune.training import model as model_module
from gemma_finetune.training.data_pipeline import Example, pack
from gemma_finetune.training.model import SupervisedModel, hidden_states, summed_loss

RNG = np.random.default_rng(0)


def example(length):
    return Example(RNG.integers(6, 200, length).astype("int32"), np.arange(length) > length // 2)


def test_hidden_states_are_the_backbones_own(base_dir):
    backbone = load_gemma_model(base_dir)
    ids = RNG.integers(4, 200, (2, 40)).astype("int32")
    ones = np.ones_like(ids)
    ours = hidden_states(backbone, ids, ones)
    np.testing.assert_allclose(ours, backbone({"token_ids": ids, "padding_mask": ones}), atol=1e-5)


def test_a_packed_conversation_reads_as_if_alone(base_dir):
    backbone = load_gemma_model(base_dir)
    examples = [example(20), example(28), example(12)]
    packed = pack(examples, 64)
    states = np.asarray(hidden_states(backbone, packed.token_ids, packed.segment_ids))
    for row in range(len(packed.token_ids)):
        for segment in range(1, packed.segment_ids[row].max() + 1):
            where = packed.segment_ids[row] == segment
            alone = packed.token_ids[row][where][None]
            np.testing.assert_allclose(
                states[row][where],
                hidden_states(backbone, alone, np.ones_like(alone))[0],
                atol=2e-4,
            )


@pytest.mark.parametrize("places", [1, 2, 5, 7, 11])
def test_chunked_loss_and_gradient_equal_the_plain_ones(places):
    """Of 3 rows x 11 positions, `places` of each row at a time; the last ones weigh nothing."""
    hidden, embeddings = (
        jnp.array(RNG.normal(size=(3, 11, 16))),
        jnp.array(RNG.normal(size=(50, 16))),
    )
    labels, weights = (
        jnp.array(RNG.integers(0, 50, (3, 11))),
        jnp.array(RNG.integers(0, 3, (3, 11)).astype("float32")),
    )
    weights = weights.at[:, 8:].set(0).at[0, 5:].set(0)

    def plain(hidden):
        log_probabilities = jax.nn.log_softmax(hidden @ embeddings.T)
        return -jnp.sum(
            weights * jnp.take_along_axis(log_probabilities, labels[..., None], axis=2)[..., 0]
        )

    def chunked(hidden):
        return 3 * summed_loss(hidden, embeddings, labels, weights, 4 * 50 * 3 * places)

    loss, gradient = jax.jit(jax.value_and_grad(chunked))(hidden)
    wanted, wanted_gradient = jax.value_and_grad(plain)(hidden)
    np.testing.assert_allclose([loss, chunked(hidden)], 3 * wanted, rtol=1e-5)
    np.testing.assert_allclose(gradient, 3 * wanted_gradient, atol=1e-5)


def test_a_chunk_without_weight_is_not_computed():
    hidden, labels = (
        jnp.ones((2, 3, 16), "float32").at[:, 2].set(jnp.nan),
        jnp.zeros((2, 3), "int32"),
    )
    weights = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]], "float32")
    assert jnp.isfinite(
        summed_loss(hidden, jnp.ones((50, 16), "float32"), labels, weights, 4 * 50 * 2)
    )


def test_the_loss_is_the_mean_over_supervised_tokens_of_every_turn(base_dir):
    """Against logits of each conversation alone, padding and packing left out of it."""
    backbone = load_gemma_model(base_dir)
    examples = [example(20), example(28), example(31)]
    losses = []
    for ids, supervised in examples:
        inputs = {"token_ids": ids[None], "padding_mask": np.ones_like(ids)[None]}
        log_probabilities = np.asarray(jax.nn.log_softmax(logits(backbone, backbone(inputs))[0]))
        losses += [-log_probabilities[t - 1, ids[t]] for t in np.flatnonzero(supervised)]
    packed = pack(examples, 64)
    model = SupervisedModel(backbone)
    inputs = {
        "token_ids": packed.token_ids,
        "segment_ids": packed.segment_ids,
        "positions": packed.positions,
    }
    loss = model.compute_loss(y=packed.labels, y_pred=model(inputs), sample_weight=packed.weights)
    np.testing.assert_allclose(float(loss), np.mean(losses), rtol=1e-4)


def test_no_array_of_batch_length_vocabulary_exists(base_dir, monkeypatch):
    """Looks through the compiled training step for any array that large."""
    monkeypatch.setattr(model_module, "CHUNK_BYTES", 4 * 320 * 8)
    backbone = load_gemma_model(base_dir)
    apply_lora(
        backbone,
        LoRAConfig(
            rank=2,
            alpha=4,
            use_rslora=False,
            dropout=0.0,
            targets=("q_proj",),
            quantization_aware=False,
        ),
    )
    packed = pack([example(60) for _ in range(4)], 64)
    model = SupervisedModel(backbone)
    inputs = {
        "token_ids": packed.token_ids,
        "segment_ids": packed.segment_ids,
        "positions": packed.positions,
    }
    vocabulary = backbone.vocabulary_size

    def loss(trainable, frozen):
        hidden, _ = model.stateless_call(trainable, frozen, inputs)
        return model.compute_loss(y=packed.labels, y_pred=hidden, sample_weight=packed.weights)

    state = (
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
    )
    text = jax.jit(jax.grad(loss)).lower(*state).as_text()
    assert f"x{vocabulary}x" in text  # chunks of logits are there
    assert f"tensor<{packed.positions.size}x{vocabulary}x" not in text
    assert f"tensor<4x64x{vocabulary}x" not in text


def test_accumulated_gradients_are_those_of_the_whole_batch(base_dir):
    """Of parts that hold very unequal numbers of supervised tokens, and one that holds none."""
    backbone = load_gemma_model(base_dir)
    adapters = apply_lora(
        backbone,
        LoRAConfig(
            rank=2,
            alpha=4,
            use_rslora=False,
            dropout=0.0,
            targets=("q_proj",),
            quantization_aware=False,
        ),
    )
    for layer in adapters.values():
        layer.lora_B.assign(RNG.normal(0, 0.1, layer.lora_B.shape))
    model = SupervisedModel(backbone, accumulation_steps=3)
    model.compile(optimizer="sgd")
    model.optimizer.build(model.trainable_variables)
    packed = pack([example(60), example(40), example(36), example(50)], 64)
    weights = packed.weights.copy()
    weights[1, 4:] = 0
    rows = [np.concatenate([field, np.zeros_like(field[:2])]) for field in (*packed[:4], weights)]
    inputs = dict(zip(("token_ids", "segment_ids", "positions"), rows, strict=False))
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
    )
    state = [[v.value for v in some] for some in (*variables, model.metrics_variables)]
    loss, gradients, _, metrics = jax.jit(model._accumulated_gradients)(
        state, (inputs, rows[3], rows[4])
    )
    wanted, wanted_gradients, _, wanted_metrics = jax.jit(model._gradients)(
        state, (inputs, rows[3], rows[4])
    )
    np.testing.assert_allclose([loss, *metrics], [wanted, *wanted_metrics], rtol=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in wanted_gradients)
    for ours, theirs in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale)


def test_long_rows_read_as_the_backbone_reads_them(base_dir, monkeypatch):
    """Global and sliding layers, over several blocks."""
    monkeypatch.setattr(model_module, "BLOCK", 16)
    monkeypatch.setattr(attention, "BLOCK", 16)
    backbone = load_gemma_model(base_dir)
    ids = RNG.integers(4, 200, (2, 90)).astype("int32")
    ones = np.ones_like(ids)
    wanted = backbone({"token_ids": ids, "padding_mask": ones})
    np.testing.assert_allclose(hidden_states(backbone, ids, ones), wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rematerialization_changes_no_gradient_and_keeps_less(base_dir, dtype):
    """With dropout: both draw the same. What is kept is asked of JAX: XLA computes nothing twice on
    a CPU.
    """
    lora = LoRAConfig(
        rank=2,
        alpha=4,
        use_rslora=False,
        dropout=0.2,
        targets=("q_proj", "down_proj"),
        quantization_aware=False,
    )
    packed = pack([example(60) for _ in range(8)], 64)
    batch = (
        dict(zip(("token_ids", "segment_ids", "positions"), packed, strict=False)),
        packed.labels,
        packed.weights,
    )
    found, kept = [], []
    for rematerialization in (False, True):
        backbone = load_gemma_model(base_dir, dtype=dtype)
        for layer in apply_lora(backbone, lora).values():
            layer.lora_B.assign(np.full(layer.lora_B.shape, 0.05))
        model = SupervisedModel(backbone, rematerialization=rematerialization)
        model.compile(optimizer="sgd")
        model.optimizer.build(model.trainable_variables)
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
        )
        state = [[v.value for v in some] for some in (*variables, model.metrics_variables)]

        def loss(trainable, state=state, model=model):
            return model.compute_loss_and_updates(trainable, *state[1::2], *batch, True, state[2])[
                0
            ]

        kept.append(sum(value.size for value, _ in saved_residuals(loss, state[0])))
        loss, gradients, frozen, _ = jax.jit(model._gradients)(state, batch)
        seeds = [value for value in frozen if value.dtype == jnp.uint32]
        assert len(seeds) == 12 and any(
            (new != old).any() for new, old in zip(frozen, state[1], strict=True)
        )
        found.append([loss, *gradients, *seeds])
    for ours, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(
            ours, wanted, rtol=1e-4, atol=1e-5 if dtype == "float32" else 1e-2
        )
    assert kept[1] < kept[0] / 2
