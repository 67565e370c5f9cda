import numpy as np
import pytest

from gemma_finetune.figures import bootstrap
from gemma_finetune.figures.bootstrap import interval


def test_it_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        low, high = interval(rng.random(150) < 0.8, range(150), (0, 1))
        hits += low <= 0.8 <= high
    assert hits >= 52  # of 60 at 95 %: fewer has probability 0.01


def test_the_same_items_give_the_same_interval():
    values = np.random.default_rng(0).random(50) < 0.5
    assert interval(values, range(50), (0, 1)) == interval(values, range(50), (0, 1))


def test_more_items_narrow_it():
    def width(n):
        low, high = interval(np.arange(n) % 2, range(n), (0, 1))
        return high - low

    assert width(400) < width(100) / 1.8


def test_turns_of_one_conversation_count_as_one_draw():
    values = np.repeat(np.arange(40) % 2, 5)
    apart, together = (
        interval(values, groups, (0, 1)) for groups in (range(200), np.repeat(np.arange(40), 5))
    )
    assert together[1] - together[0] > 1.8 * (apart[1] - apart[0])


@pytest.mark.parametrize("n", [3, 30, 300])
def test_what_was_never_seen_may_still_be_there(n):
    low, high = interval(np.ones(n), range(n), (0, 1))
    assert (low, high) == (pytest.approx(1 - 3 / n), 1)
    assert interval(np.zeros(n), range(n), (-1, 1)) == (pytest.approx(-3 / n), pytest.approx(3 / n))


def test_one_conversation_tells_nothing():
    assert interval([1, 0, 1], ["a", "a", "a"], (0, 1)) == (0, 1)
    assert interval([0.5, 0.5], ["a", "a"], (-1, 1)) == (-1, 1)


def test_what_has_no_bounds_is_uncertain_by_its_own_size():
    assert interval([40.0] * 30, range(30), (0, np.inf)) == (pytest.approx(36), pytest.approx(44))


def test_few_draws_at_a_time_give_the_same_interval(monkeypatch):
    values = np.random.default_rng(0).random(50) < 0.5
    at_once = interval(values, range(50), (0, 1))
    monkeypatch.setattr(bootstrap, "COUNTS", 333)
    assert interval(values, range(50), (0, 1)) == at_once
