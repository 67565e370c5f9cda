"""Splits by content: stable, near the fractions, and never against what a row says itself."""

from collections import Counter

from gemma_finetune.data.converter import content_id
from gemma_finetune.data.split import split_of


def conversation(n, **more):
    return {"group": content_id([("human", str(n)), ("gpt", "x")]), **more}


def test_fractions_are_met():
    counts = Counter(split_of(conversation(n), 0.1, 0.2) for n in range(5000))
    assert abs(counts["test"] - 1000) < 100 and abs(counts["validation"] - 500) < 80


def test_a_row_that_names_its_split_keeps_it():
    assert {split_of(conversation(n, split="test"), 0.1, 0.1) for n in range(100)} == {"test"}


def test_fractions_of_zero_leave_all_to_training():
    assert {split_of(conversation(n), 0.0, 0.0) for n in range(100)} == {"train"}


def test_the_hash_is_read_as_a_fraction():
    position = 0.1  # of 2**64: a group's hash just below it is test, just above it validation
    below, above = (format(int(position * 2**64) + step, "016x") for step in (-4096, 4096))
    assert [split_of({"group": group}, 0.1, 0.1) for group in (below, above)] == ["test", "validation"]


def test_a_larger_validation_split_moves_no_test_row():
    for n in range(500):
        assert (split_of(conversation(n), 0.1, 0.1) == "test") == (split_of(conversation(n), 0.3, 0.1) == "test")
