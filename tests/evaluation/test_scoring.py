import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.evaluation import scoring
from gemma_finetune.evaluation.scoring import (
    greedy_prefix,
    is_exact,
    join,
    score,
    split,
    split_turns,
    summary,
)

STOP = (1, 5)


def logits(seed, positions=7, vocabulary=11):
    return np.random.default_rng(seed).normal(0, 3, (positions, vocabulary)).astype("float32")


def softmax(x):
    exponentials = np.exp(x.astype(float))
    return exponentials / exponentials.sum()


def test_a_model_against_itself_differs_in_nothing():
    labels = np.arange(7)
    figures = summary(score(logits(0), labels, logits(0)))
    assert figures["kl"] == figures["max_logit_diff"] == 0
    assert figures["top1_agreement"] == 1
    assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))


def test_against_the_definitions_written_out():
    p, q, labels = logits(0), logits(1), np.arange(7)
    scores = score(q, labels, p)
    for i, label in enumerate(labels):
        p_i, q_i = softmax(p[i]), softmax(q[i])
        assert scores.nll[i] == pytest.approx(-np.log(q_i[label]))
        assert scores.kl[i] == pytest.approx(np.sum(p_i * np.log(p_i / q_i)))
    assert summary(scores)["max_logit_diff"] == np.abs(p - q).max()


def test_shifting_all_logits_changes_neither_loss_nor_kl():
    labels = np.arange(7)
    moved, still = (score(x, labels, logits(1)) for x in (logits(0) + 100, logits(0)))
    np.testing.assert_allclose(moved.nll, still.nll, atol=1e-4)
    np.testing.assert_allclose(moved.kl, still.kl, atol=1e-4)


def test_kl_resolves_what_float32_would_drown():
    close = logits(0) + np.float32(1e-5) * logits(1)
    assert 0 < summary(score(close, np.arange(7), logits(0)))["kl"] < 1e-8


def test_blocks_and_large_differences_change_nothing(monkeypatch):
    """Float32 and small blocks, against the definition in float64."""
    monkeypatch.setattr(scoring, "BLOCK_BYTES", 3 * 4 * 4_000)
    p = np.random.default_rng(0).normal(0, 3, (7, 4_000)).astype("float32")
    for scale in (1e-3, 0.1, 1, 10, 60):
        q = p + np.random.default_rng(1).normal(0, scale, p.shape).astype("float32")
        scores = score(q, np.arange(7), p)
        for i in range(7):
            log_p, log_q = (np.log(softmax(x[i])) for x in (p, q))
            assert scores.nll[i] == pytest.approx(-log_q[i], rel=1e-6)
            assert scores.kl[i] == pytest.approx(softmax(p[i]) @ (log_p - log_q), rel=1e-5)
            assert scores.argmax[i] == q[i].argmax()


def test_joined_scores_are_the_scores_of_all():
    parts = [score(logits(i), np.arange(7), logits(9)) for i in range(3)]
    losses = [summary(part)["loss"] for part in parts]
    assert len(join(parts).nll) == 21
    before, after = split(join(parts), 14)
    assert np.array_equal(before.nll, join(parts[:2]).nll)
    assert np.array_equal(after.diff, parts[2].diff)
    assert summary(join(parts))["loss"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(
    ("argmax", "exact", "begins", "whole"),
    [
        ([7, 8, 5], True, [7, 8], True),  # the reference and its stop token
        ([7, 8, 1], True, [7, 8], True),  # the other stop token
        ([7, 8, 9], False, [7, 8, 9], False),  # goes on
        ([7, 5, 5], False, [7], True),  # stops too soon
        ([9, 8, 5], False, [9], False),  # what follows a wrong token is not known
        ([5, 8, 5], False, [], True),  # says nothing
    ],
)
def test_what_greedy_decoding_would_say(argmax, exact, begins, whole):
    labels = np.array([7, 8, 5])
    assert is_exact(np.array(argmax), labels, STOP) is exact
    assert greedy_prefix(np.array(argmax), labels, STOP) == (begins, whole)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_teacher_forcing_knows_what_greedy_decoding_says(seed, length):
    """On a random model, which is any function from a prefix to a token."""

    def model(prefix):
        random = np.random.default_rng([seed, *prefix])
        return int(random.choice([1, 5, 6, 7], p=[0.05, 0.15, 0.4, 0.4]))

    labels = np.append(np.random.default_rng(seed + 1).integers(6, 8, length - 1), 5)
    argmax = np.array([model(labels[:i].tolist()) for i in range(length)])
    said = []
    while (token := model(said)) not in STOP and len(said) < 40:
        said.append(token)
    begins, whole = greedy_prefix(argmax, labels, STOP)
    assert is_exact(argmax, labels, STOP) == (said == labels[:-1].tolist())
    assert said == begins if whole else said[: len(begins)] == begins


def test_split_turns():
    parts = split_turns(np.arange(6), [1, 3, 2])
    assert [p.tolist() for p in parts] == [[0], [1, 2, 3], [4, 5]]


def test_nan_stays_nan():
    broken = np.full_like(logits(0), np.nan)
    assert np.isnan(summary(score(broken, np.arange(7), logits(0)))["kl"])
