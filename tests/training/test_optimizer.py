import keras
import numpy as np
import pytest

from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.models.lora import apply_lora
from gemma_finetune.training.optimizer import cosine_schedule, make_optimizer
from lora_settings import lora_config

pytestmark = pytest.mark.slow


def rates(train_config, steps, **changes):
    schedule = cosine_schedule(train_config(**changes), steps)
    return np.array([float(schedule(step)) for step in range(steps)])


def test_linear_warm_up_then_cosine_to_zero(train_config):
    got = rates(train_config, 100, learning_rate=1e-3, warmup_steps=10)
    np.testing.assert_allclose(got[:11], 1e-3 * np.linspace(1 / 11, 1, 11), rtol=1e-5)
    np.testing.assert_allclose(
        got[10:], 1e-3 * 0.5 * (1 + np.cos(np.pi * np.arange(90) / 90)), rtol=1e-4, atol=1e-9
    )


def test_without_warm_up_the_first_step_has_the_full_rate(train_config):
    assert rates(train_config, 5, learning_rate=1e-3, warmup_steps=0)[0] == np.float32(1e-3)


def test_a_run_shorter_than_its_warm_up_still_decays(train_config):
    got = rates(train_config, 4, learning_rate=1e-3, warmup_steps=20)
    assert np.all(got > 0) and got[-1] == got.max()


def test_weights_of_the_adapter_decay_and_norms_do_not(base_dir, train_config):
    """With no gradient at all, only what AdamW decays moves: W (1 - rate x decay)."""
    backbone = load_gemma_model(base_dir)
    lora = lora_config(rank=2, alpha=4)
    adapters = apply_lora(backbone, lora)
    before = [np.array(v) for v in backbone.variables]
    optimizer = make_optimizer(
        train_config(learning_rate=0.1, warmup_steps=0, weight_decay=0.5), steps=10
    )
    trained = backbone.trainable_variables
    optimizer.apply([keras.ops.zeros(v.shape) for v in trained], trained)
    pairs = list(zip(backbone.variables, before, strict=True))
    moved = {id(v) for v, old in pairs if not np.array_equal(v, old)}
    assert moved == {id(layer.lora_A) for layer in adapters.values()}  # B is zero, and stays so
    for v, old in pairs:
        factor = 1 - 0.1 * 0.5 if id(v) in moved else 1
        np.testing.assert_allclose(v, old * factor, rtol=1e-6)


@pytest.mark.parametrize("beta_2", [0.9, 0.99])
def test_beta_2_and_clip_norm_are_the_settings(train_config, beta_2):
    """The second of two steps, by AdamW's formula."""
    config = train_config(beta_2=beta_2, learning_rate=0.1, warmup_steps=0, weight_decay=0.0)
    optimizer = make_optimizer(config, steps=10**6)  # the rate hardly decays
    variable = keras.Variable(np.zeros(1, "float32"))
    optimizer.apply([np.array([0.5], "float32")], [variable])
    first = float(variable[0])
    optimizer.apply([np.array([3.0], "float32")], [variable])  # clipped to 1

    mean = (0.9 * 0.1 * 0.5 + 0.1 * 1) / (1 - 0.9**2)
    square = (beta_2 * (1 - beta_2) * 0.25 + (1 - beta_2) * 1) / (1 - beta_2**2)
    np.testing.assert_allclose(float(variable[0]) - first, -0.1 * mean / square**0.5, rtol=1e-3)
