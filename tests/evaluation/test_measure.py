import io
import weakref
from dataclasses import replace

import numpy as np
import pytest
from tqdm import tqdm

from gemma_finetune.evaluation.dataset import Answer, FollowUp
from gemma_finetune.evaluation.measure import (
    Outcome,
    agreements,
    answer_records,
    exact_by_logits,
    follow_up_records,
    foretold_stops,
    measure,
    set_record,
)

VOCABULARY = 400


def logits(test_set, right):
    """Slices of logits with the label on top if `right`, else another token; the probe's are 0."""
    parts = []
    for tokens in test_set.sequences:
        part = np.zeros((len(tokens.positions), VOCABULARY), "float32")
        if tokens is not test_set.probe:
            part[np.arange(len(part)), (tokens.labels + (not right)) % VOCABULARY] = 9
        parts += [part[rows] for rows in tokens.slices(VOCABULARY)]
    return parts


@pytest.fixture
def right(test_set):
    return logits(test_set, True)


def test_slices_are_counted_before_there_are_logits(test_set, right):
    assert test_set.count_slices(VOCABULARY) == len(right)


def test_a_model_that_knows_everything(test_set, right, tokenizer):
    outcome = measure(test_set, right, right)
    assert outcome.figures["top1_agreement"] == 1
    assert outcome.figures["loss"] < 0.1
    assert all(exact_by_logits(test_set, outcome, tokenizer.stop_ids))


def test_a_model_that_knows_nothing(test_set, right, tokenizer):
    outcome = measure(test_set, logits(test_set, False), right)
    assert outcome.figures["top1_agreement"] == 0
    assert outcome.figures["kl"] > 1
    assert not any(exact_by_logits(test_set, outcome, tokenizer.stop_ids))


def test_a_difference_on_the_probe_counts_for_logits_alone(test_set, right):
    other = [*right[:-1], right[-1] + np.float32(0.5)]
    figures = measure(test_set, other, right).figures
    assert figures["max_logit_diff"] == 0.5
    assert figures["kl"] == 0


def test_a_rung_that_skips_a_sequence_is_an_error(test_set, right):
    for reference in (right, right[:-1]):
        with pytest.raises(ValueError, match="every position has logits"):
            measure(test_set, right[:-1], reference)


def test_both_models_go_in_lockstep(test_set, right):
    """One slice of each is in memory, and none while the rung's own next one is computed."""
    asked, living, most = [], weakref.WeakSet(), {}

    class Slice(np.ndarray):
        __hash__ = object.__hash__

    def made(part):
        copy = part.copy().view(Slice)
        living.add(copy)
        return copy

    def noting(name):
        for part in right:
            asked.append(name)
            most[name] = max(most.get(name, 0), len(living))
            yield made(part)

    def bar(parts):
        return tqdm(parts, disable=None, file=io.StringIO())

    measure(test_set, noting("ours"), noting("theirs"), bar)
    assert asked == ["ours", "theirs"] * len(right)
    assert most == {"ours": 0, "theirs": 1}


def test_slices_cover_a_sequence_and_stay_small(test_set):
    tokens = replace(test_set.probe, positions=np.arange(1000, dtype=np.int32))
    for vocabulary, rows in ((262_144, 64), (2_048, 256)):
        parts = list(tokens.slices(vocabulary))
        assert [part.start for part in parts] == list(range(0, 1000, rows))
        assert parts[-1].stop == 1000


def answered(test_set, **changes):
    """The references as answers, with changes {number of the turn: text}."""
    answers = []
    for number, turn in enumerate(test_set.turns):
        text = changes.get(str(number), turn.answer)
        answers.append(Answer(text, turn.length, stopped=True))
    return answers


def test_a_runtime_that_says_what_its_logits_do(test_set, right, tokenizer):
    outcome = measure(test_set, right, right)
    assert all(agreements(test_set, answered(test_set), outcome, tokenizer))
    said_otherwise = answered(test_set, **{"0": "Something else", "2": ""})
    found = agreements(test_set, said_otherwise, outcome, tokenizer)
    assert found == [False, True, False, True]


def test_a_wrong_answer_agrees_if_it_begins_as_the_logits_say(test_set, tokenizer):
    """The logits know it up to the first token that differs from the reference."""
    turn = test_set.turns[0]
    other = tokenizer.encode("Z")[-1]
    argmax = [t.labels.copy() for t in test_set.turns]
    argmax[0][2] = other
    begins = tokenizer.decode([*turn.labels[:2].tolist(), other])
    for text, agrees in ((begins + "anything", True), (turn.answer, False)):
        found = agreements(
            test_set, answered(test_set, **{"0": text}), Outcome({}, argmax), tokenizer
        )
        assert found == [agrees, True, True, True]


def test_an_answer_that_was_cut_off_agrees_as_far_as_it_goes(test_set, right, tokenizer):
    outcome = measure(test_set, right, right)
    turn = test_set.turns[0]
    begun = Answer(tokenizer.decode(turn.labels[:3].tolist()), 3, stopped=False)
    found = agreements(test_set, [begun, *answered(test_set)[1:]], outcome, tokenizer)
    assert found[0]


def test_logits_foretell_where_an_answer_ends_if_they_know(test_set, right, tokenizer):
    outcome = measure(test_set, right, right)
    lengths = [turn.length for turn in test_set.turns]
    assert foretold_stops(test_set, outcome, tokenizer.stop_ids) == lengths
    argmax = [*outcome.argmax]
    argmax[0] = argmax[0].copy()
    argmax[0][1] = tokenizer.end_of_turn  # ends early
    argmax[1] = np.full_like(argmax[1], tokenizer.bos)  # goes on nobody knows how
    found = foretold_stops(test_set, Outcome({}, argmax), tokenizer.stop_ids)
    assert found[:2] == [2, None]


@pytest.mark.parametrize(
    ("text", "same_start", "same"), [("x", True, False), ("same", True, True), ("x", False, None)]
)
def test_second_answers_count_where_the_first_was_the_reference(test_set, text, same_start, same):
    [number] = [n for n, turn in enumerate(test_set.turns) if len(turn.messages) > 1]
    turn = test_set.turns[number]
    answer = Answer(turn.answer if text == "same" else text, 5, stopped=True)
    chats = [FollowUp(turn, answer, same_start)]
    [record] = follow_up_records(test_set, answered(test_set), chats)
    assert record == {**answer_records([answer])[0], "turn": number, "same": same}


def test_the_record_of_the_test_set_says_which_turns_were_asked(test_set):
    asked = replace(test_set, asked=test_set.conversations[1:2])
    record = set_record(asked, max_tokens=24)
    assert [turn["asked"] for turn in record["turns"]] == [
        turn.conversation == asked.asked[0].id for turn in asked.turns
    ]
    assert record["positions"] == sum(turn["tokens"] for turn in record["turns"])
    assert (record["conversations"], record["found"], record["max_tokens"]) == (3, 3, 24)
    assert asked.asked_turns == [n for n, turn in enumerate(record["turns"]) if turn["asked"]]
