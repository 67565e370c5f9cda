from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.models.lora import apply_lora
from gemma_finetune.training.data_pipeline import Batches, pack
from gemma_finetune.training.examples import Example
from gemma_finetune.training.model import SupervisedModel, states_at
from lora_settings import lora_config
from training_rows import every_row

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
LORA = lora_config(rank=2, alpha=4, targets=("q_proj",))


def example(length):
    return Example(RNG.integers(6, 200, length).astype("int32"), np.arange(length) > length // 2)


def make_inputs(packed):
    return dict(zip(("token_ids", "segment_ids", "positions"), packed, strict=False))


def make_model(backbone, **options):
    """A model that is ready for a step of SGD with rate 1, and the state that a step takes."""
    model = SupervisedModel(backbone, **options)
    model.compile(optimizer="sgd")
    model.optimizer.learning_rate = 1.0
    model.optimizer.build(model.trainable_variables)
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    return model, tuple([variable.value for variable in group] for group in groups)


def gradients_of_a_step(model, state, batch):
    """(logs, gradients, non-trainable variables after it) of a training step."""
    logs, (after, non_trainable, _, _) = jax.jit(model.train_step)(state, batch)
    gradients = [before - now for before, now in zip(state[0], after, strict=True)]
    return logs, gradients, non_trainable


def test_the_loss_is_the_mean_over_supervised_tokens_of_every_turn(base_dir):
    """Against logits of each conversation alone, without padding and packing."""
    backbone = load_gemma_model(base_dir)
    examples = [example(20), example(28), example(31)]
    losses = []
    for ids, supervised in examples:
        inputs = {"token_ids": ids[None], "padding_mask": np.ones_like(ids)[None]}
        log_probs = np.asarray(jax.nn.log_softmax(logits(backbone, backbone(inputs))[0]))
        for position in np.flatnonzero(supervised):
            losses.append(-log_probs[position - 1, ids[position]])

    packed = every_row(pack(examples, 64))
    model = SupervisedModel(backbone)
    states = model(make_inputs(packed))
    loss = model.compute_loss(y=packed.labels, y_pred=states, sample_weight=packed.weights)
    np.testing.assert_allclose(float(loss), np.mean(losses), rtol=1e-4)


def test_states_at_positions_and_their_gradient_are_those_of_a_plain_gather():
    """Of a row with places to spare, whose positions are past its end."""
    hidden = jnp.array(RNG.normal(size=(2, 5, 3)), "float32")
    positions = jnp.array([[0, 2, 4, 7], [1, 2, 6, 7]])
    d_out = jnp.array(RNG.normal(size=(2, 4, 3)), "float32")

    def plain(hidden):
        padded = jnp.pad(hidden, [(0, 0), (0, 3), (0, 0)])
        return jnp.take_along_axis(padded, positions[..., None], axis=1)

    states, backward = jax.vjp(lambda hidden: states_at(hidden, positions), hidden)
    wanted, wanted_backward = jax.vjp(plain, hidden)
    np.testing.assert_array_equal(states, wanted)
    np.testing.assert_array_equal(backward(d_out)[0], wanted_backward(d_out)[0])


def test_validation_weighs_every_token_equally(base_dir):
    """In batches that hold unequal numbers of supervised tokens."""
    packed = pack([example(60), example(9), example(58), example(33), example(12)], 64)
    losses = []
    for batch_size in (1, len(packed)):
        model, _ = make_model(load_gemma_model(base_dir))
        batches = Batches(packed, batch_size)
        losses.append(model.evaluate(batches, verbose=0, return_dict=True)["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_accumulated_gradients_are_those_of_the_whole_batch(base_dir):
    """Of parts that hold very unequal numbers of supervised tokens, and one that holds none."""
    packed = pack([example(60), example(40), example(36), example(50)], 64).make(range(4), blank=2)
    packed.weights[1, 4:] = 0
    batch = make_inputs(packed), packed.labels, packed.weights

    found = []
    for parts in (1, 3):
        backbone = load_gemma_model(base_dir)
        rng = np.random.default_rng(1)
        for layer in apply_lora(backbone, LORA).values():
            layer.lora_B.assign(rng.normal(0, 0.1, layer.lora_B.shape))
        model, state = make_model(backbone, accumulation_steps=parts)
        logs, gradients, _ = gradients_of_a_step(model, state, batch)
        found.append((logs, gradients))

    (wanted_logs, wanted), (logs, gradients) = found
    for name in ("loss", "grad_norm", "tokens"):
        np.testing.assert_allclose(logs[name], wanted_logs[name], rtol=1e-4, err_msg=name)
    scale = max(float(jnp.abs(gradient).max()) for gradient in wanted)
    for ours, theirs in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rematerialization_changes_no_gradient_and_keeps_less(base_dir, dtype):
    """With dropout: both draw the same. What is kept is asked of JAX: XLA on a CPU recomputes
    nothing.
    """
    lora = replace(LORA, dropout=0.2, targets=("q_proj", "down_proj"))
    packed = every_row(pack([example(60) for _ in range(8)], 64))
    batch = make_inputs(packed), packed.labels, packed.weights
    found, kept = [], []
    for rematerialization in (False, True):
        backbone = load_gemma_model(base_dir, dtype=dtype)
        for layer in apply_lora(backbone, lora).values():
            layer.lora_B.assign(np.full(layer.lora_B.shape, 0.05))
        model, state = make_model(backbone, rematerialization=rematerialization)
        trainable, non_trainable, optimizer, metrics = state

        def loss(trainable, model=model, rest=(non_trainable, metrics, *batch, True, optimizer)):
            return model.compute_loss_and_updates(trainable, *rest)[0]

        _, backward = jax.eval_shape(lambda values, loss=loss: jax.vjp(loss, values), trainable)
        kept.append(sum(leaf.size for leaf in jax.tree.leaves(backward)))

        logs, gradients, after = gradients_of_a_step(model, state, batch)
        seeds = [value for value in after if value.dtype == jnp.uint32]
        before = [value for value in non_trainable if value.dtype == jnp.uint32]
        assert len(seeds) == 12
        assert all((new != old).any() for new, old in zip(seeds, before, strict=True))
        found.append([logs["loss"], *gradients, *seeds])

    atol = 1e-5 if dtype == "float32" else 1e-2
    for ours, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=atol)
    assert kept[1] < kept[0] / 2
