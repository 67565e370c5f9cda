import errno
import io
import tempfile

import numpy as np
import pytest

from gemma_finetune.evaluation.liveness import Answer, FollowUp
from gemma_finetune.evaluation.measure import (
    Outcome,
    RuntimeAnswers,
    exact_by_logits,
    exact_by_text,
    exact_match,
    keep,
    measure,
    rounded,
    runtime,
)


def logits(test_set, vocabulary, right):
    """Logits that put the label on top where `right`, by position; the probe's are zero."""
    parts = []
    for tokens in test_set.sequences:
        part = np.zeros((len(tokens.positions), vocabulary), "float32")
        if tokens is not test_set.probe:
            part[np.arange(len(part)), (tokens.labels + (not right)) % vocabulary] = 9
        parts.append(part)
    return parts


@pytest.fixture
def right(test_set, tokenizer):
    return logits(test_set, tokenizer.vocabulary_size, True)


def test_the_reference_is_kept_as_it_was(right):
    kept = keep(iter(right))
    assert all(np.array_equal(a, b) for a, b in zip(kept, right, strict=True))


def test_a_disk_too_full_for_the_reference_is_an_error(right, tmp_path, monkeypatch):
    """Written through a map instead, it would be SIGBUS, which ends Python without a message."""

    class FullDisk(io.FileIO):
        room = sum(part.nbytes for part in right) - 1

        def write(self, content):
            self.room -= memoryview(content).nbytes
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: FullDisk(tmp_path / "kept", "w+"))
    with pytest.raises(OSError, match="No space left"):
        keep(iter(right))


def test_a_model_that_knows_everything(test_set, right, tokenizer):
    outcome = measure(test_set, right, right)
    assert outcome.figures["top1_agreement"] == 1
    assert outcome.figures["loss"] < 0.1
    assert exact_by_logits(test_set, outcome, tokenizer.stop_ids).all()


def test_a_model_that_knows_nothing(test_set, right, tokenizer):
    outcome = measure(test_set, logits(test_set, tokenizer.vocabulary_size, False), right)
    assert outcome.figures["top1_agreement"] == 0
    assert outcome.figures["kl"] > 1
    assert not exact_by_logits(test_set, outcome, tokenizer.stop_ids).any()


def test_a_difference_on_the_probe_counts_for_logits_alone(test_set, right):
    other = [*right[:-1], right[-1] + np.float32(0.5)]
    figures = measure(test_set, other, right).figures
    assert figures["max_logit_diff"] == 0.5
    assert figures["kl"] == 0


def test_a_rung_that_skips_a_sequence_is_an_error(test_set, right):
    with pytest.raises(ValueError, match="zip"):
        measure(test_set, right[:-1], right)


def test_the_change_is_against_the_merged_model(test_set):
    exact, merged = np.array([True, False, False, True]), np.array([True, True, True, True])
    figures = exact_match(test_set, exact, merged)
    assert (figures["exact_match"], figures["exact_match_change"]) == (0.5, -0.5)
    assert figures["exact_match_low"] <= 0.5 <= figures["exact_match_high"]
    assert -1 <= figures["exact_match_change_low"] <= -0.5
    assert -0.5 <= figures["exact_match_change_high"] <= 0


def answered(test_set, **changes):
    """The references as answers, with changes {number of the turn: text}, and no follow-ups."""
    answers = []
    for number, turn in enumerate(test_set.turns):
        text = changes.get(str(number), turn.answer)
        answers.append(Answer(text, stopped=True, turn=1))
    return RuntimeAnswers(answers, [])


def test_answers_are_compared_as_text_but_for_the_space_around(test_set):
    first, second, *_ = (turn.answer for turn in test_set.turns)
    found = answered(test_set, **{"0": f" {first}\n", "1": f"{second}!"})
    assert exact_by_text(test_set, found.answers).tolist() == [True, False, True, True]


def test_a_runtime_that_says_what_its_logits_do(test_set, right, tokenizer):
    figures = runtime(test_set, answered(test_set), measure(test_set, right, right), tokenizer)
    assert (figures["runtime_agreement"], figures["faulty_answers"]) == (1, 0)


def test_a_runtime_that_says_otherwise(test_set, right, tokenizer):
    found = answered(test_set, **{"0": "Something else", "2": ""})
    figures = runtime(test_set, found, measure(test_set, right, right), tokenizer)
    assert (figures["runtime_agreement"], figures["faulty_answers"]) == (0.5, 0.25)
    assert figures["faults"]["empty"] == 1


def test_a_wrong_answer_agrees_if_it_begins_as_the_logits_say(test_set, tokenizer):
    """The logits know it up to the first token that differs from the reference."""
    turn = test_set.turns[0]
    other = tokenizer.encode("Z")[-1]
    argmax = [t.labels.copy() for t in test_set.turns]
    argmax[0][2] = other
    begins = tokenizer.decode([*turn.labels[:2].tolist(), other])
    for text, agreement in ((begins + "anything", 1), (turn.answer, 0.75)):
        found = answered(test_set, **{"0": text})
        figures = runtime(test_set, found, Outcome({}, argmax), tokenizer)
        assert figures["runtime_agreement"] == agreement


@pytest.mark.parametrize(
    ("text", "same_start", "agreement"), [("x", True, 0), ("same", True, 1), ("x", False, None)]
)
def test_second_answers_count_where_the_first_was_the_reference(
    test_set, right, tokenizer, text, same_start, agreement
):
    turn = next(turn for turn in test_set.turns if len(turn.messages) > 1)
    answer = Answer(turn.answer if text == "same" else text, stopped=True, turn=2)
    found = RuntimeAnswers(answered(test_set).answers, [FollowUp(turn, answer, same_start)])
    figures = runtime(test_set, found, measure(test_set, right, right), tokenizer)
    assert figures.get("follow_up_agreement") == agreement


def test_a_chat_that_dies_at_its_second_turn_is_faulty(test_set, right, tokenizer):
    turn = next(turn for turn in test_set.turns if len(turn.messages) > 1)
    follow_up = FollowUp(turn, Answer("", stopped=True, turn=2), same_start=True)
    found = RuntimeAnswers(answered(test_set).answers, [follow_up])
    figures = runtime(test_set, found, measure(test_set, right, right), tokenizer)
    assert figures["faults"]["empty_follow_up"] == 1
    assert figures["faulty_answers"] == 1 / 5


def test_rounded_keeps_six_digits_and_leaves_counts_alone():
    value = {"a": 0.123456789, "b": {"c": 1_234_567_890}, "d": 1e-13}
    assert rounded(value) == {"a": 0.123457, "b": {"c": 1_234_567_890}, "d": 1e-13}
