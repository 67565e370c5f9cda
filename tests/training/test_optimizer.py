import numpy as np

from gemma_finetune.training.optimizer import cosine_schedule


def rates(train_config, steps, **changes):
    schedule = cosine_schedule(train_config(**changes), steps)
    return np.array([float(schedule(step)) for step in range(steps)])


def test_linear_warm_up_then_cosine_to_zero(train_config):
    got = rates(train_config, 100, learning_rate=1e-3, warmup_steps=10)
    np.testing.assert_allclose(got[:11], 1e-3 * np.linspace(1 / 11, 1, 11), rtol=1e-5)
    np.testing.assert_allclose(got[10:], 1e-3 * 0.5 * (1 + np.cos(np.pi * np.arange(90) / 90)), rtol=1e-4, atol=1e-9)


def test_without_warm_up_the_first_step_has_the_full_rate(train_config):
    assert rates(train_config, 5, learning_rate=1e-3, warmup_steps=0)[0] == np.float32(1e-3)


def test_a_run_shorter_than_its_warm_up_still_decays(train_config):
    got = rates(train_config, 4, learning_rate=1e-3, warmup_steps=20)
    assert np.all(got > 0) and got[-1] == got.max()
