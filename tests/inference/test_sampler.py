import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gemma_finetune.inference.sampler import Sampler

LOGITS = arrays(np.float32, st.integers(2, 40), elements=st.floats(-20, 20, width=32), unique=True)


def draws(sampler, logits, count=200):
    random = np.random.default_rng(0)
    return {sampler.choose(np.asarray(logits, np.float32), [], random) for _ in range(count)}


def test_greedy_takes_the_largest():
    assert draws(Sampler(), [1.0, 3.0, 2.0]) == {1}


def test_a_draw_follows_the_probabilities():
    logits = np.log(np.array([0.7, 0.2, 0.1], np.float32))
    random = np.random.default_rng(0)
    found = [Sampler(temperature=1.0).choose(logits, [], random) for _ in range(5000)]
    np.testing.assert_allclose(np.bincount(found) / 5000, [0.7, 0.2, 0.1], atol=0.02)


def test_temperature_sharpens_and_flattens():
    logits, random = np.array([0.0, 1.0], np.float32), np.random.default_rng(0)

    def share(temperature):
        sampler = Sampler(temperature=temperature)
        return np.mean([sampler.choose(logits, [], random) for _ in range(2000)])

    assert share(0.25) > share(1.0) > share(4.0) > 0.5


def test_top_k_keeps_the_largest_k():
    assert draws(Sampler(temperature=5.0, top_k=2), [1.0, 3.0, 2.0, 0.0]) == {1, 2}


def test_top_p_keeps_the_fewest_that_hold_the_mass():
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    assert draws(Sampler(temperature=1.0, top_p=0.5), logits) == {0}
    assert draws(Sampler(temperature=1.0, top_p=0.7), logits) == {0, 1}
    assert draws(Sampler(temperature=1.0, top_p=1.0), logits) == {0, 1, 2, 3}


@pytest.mark.parametrize("logits, expected", [([2.0, 1.5, 0.0], 1), ([-1.0, -1.5, -9.0], 1)])
def test_a_repetition_penalty_lowers_what_the_answer_holds(logits, expected):
    """A positive logit is divided, a negative one multiplied."""
    sampler = Sampler(repetition_penalty=2.0)
    random = np.random.default_rng(0)
    assert sampler.choose(np.asarray(logits, np.float32), [], random) == 0
    assert sampler.choose(np.asarray(logits, np.float32), [0, 0], random) == expected


def test_the_same_seed_draws_the_same():
    logits = np.zeros(50, np.float32)
    sampler = Sampler(temperature=1.0)
    generators = map(np.random.default_rng, (1, 1, 2))
    first, again, other = (
        [sampler.choose(logits, [], random) for _ in range(9)] for random in generators
    )
    assert first == again != other


@settings(derandomize=True, deadline=None)
@given(LOGITS, st.integers(1, 50), st.floats(0.01, 1), st.floats(0.1, 5), st.integers(0, 9))
def test_a_draw_is_among_the_k_largest_and_inside_the_nucleus(
    logits, top_k, top_p, temperature, seed
):
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    chosen = sampler.choose(logits, [], np.random.default_rng(seed))
    larger = logits > logits[chosen]
    assert larger.sum() < top_k
    kept = np.sort(logits.astype(np.float64))[::-1][:top_k]
    weights = np.exp((kept - kept[0]) / temperature)
    assert weights[: larger.sum()].sum() / weights.sum() < top_p + 1e-9
