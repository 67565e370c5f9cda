"""Splits by content: stable, close to the fractions, and never against the split a row names."""

import json
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.converter import canonical, content_id, id_without_masks
from gemma_finetune.data.dedup import features, find_twins
from gemma_finetune.data.evidence import (
    evidence_of,
    evidence_similarity,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import UNTRAINED
from gemma_finetune.data.shared_text import (
    SharedText,
)
from gemma_finetune.data.split import (
    agreed_split,
    canonical_split,
    split_in_name,
    split_in_value,
    split_of,
)
from gemma_finetune.data.tool_rows import to_json

NOTHING_SHARED = SharedText(20, np.zeros(0, np.uint32))


def conversation(n, **more):
    return {"id": content_id([("human", str(n)), ("gpt", "x")]), **more}


def test_fractions_are_met():
    counts = Counter(split_of(conversation(n), 0.1, 0.2) for n in range(5000))
    assert abs(counts["test"] - 1000) < 100 and abs(counts["validation"] - 500) < 80


def test_a_row_that_names_its_split_keeps_it():
    assert {split_of(conversation(n, split="test"), 0.1, 0.1) for n in range(100)} == {"test"}


def test_rows_with_other_answers_trained_on_belong_to_one_split():
    call = {"name": "f", "arguments": {"b": 1, "a": "x"}}
    words = [("system", "Be brief."), ("human", "a"), ("gpt", "b")]
    calls = [("human", "Hi"), ("function_call", to_json([call])), ("observation", "[]")]
    for said, tools in ((words, ()), (calls, [{}])):
        row = canonical([*said, ("human", "?"), ("gpt", "!")], None, {}, tools)
        masked = canonical([*said, ("human", "?"), (UNTRAINED, "!")], None, {}, tools)
        assert masked["id"] != row["id"] == id_without_masks(row) == id_without_masks(masked)


def test_fractions_of_zero_leave_all_to_training():
    assert {split_of(conversation(n), 0.0, 0.0) for n in range(100)} == {"train"}


def test_the_hash_is_read_as_a_fraction():
    position = 0.1  # of 2**64: a hash just below it is test, just above it validation
    below, above = (format(int(position * 2**64) + step, "016x") for step in (-4096, 4096))
    assert [split_of({"id": id}, 0.1, 0.1) for id in (below, above)] == ["test", "validation"]


def test_a_larger_validation_split_moves_no_test_row():
    for n in range(500):
        before, after = (split_of(conversation(n), fraction, 0.1) for fraction in (0.1, 0.3))
        assert (before == "test") == (after == "test")


@pytest.mark.parametrize("name, split", [
    ("train.jsonl", "train"),
    ("test.jsonl", "test"),
    ("TEST.JSONL", "test"),
    ("Validation.csv", "validation"),
    ("valid.tsv", "validation"),
    ("my_val.json", "validation"),
    ("chats-dev.jsonl.gz", "validation"),
    ("eval.parquet", "test"),
    ("train-00000-of-00002.parquet", "train"),
    ("train_sft-00000-of-00001-ab12.parquet", "train"),
    ("test2.jsonl", "test"),
    ("valSet.jsonl", "validation"),
    ("data/test/part-0.parquet", "test"),
    ("train/a/b.jsonl", "train"),
    ("dev-set/train.jsonl", "train"),
    ("test.zip/a.jsonl", "test"),
    ("a.zip/test/a.jsonl", "test"),
    ("a.json#test", "test"),
    ("train.json#test", "test"),
    ("latest.jsonl", None),
    ("contest.csv", None),
    ("training_notes.txt", None),
    ("evaluation.jsonl", None),
    ("devices.jsonl", None),
    ("value.jsonl", None),
    ("constrained/interval.jsonl", None),
    ("chatml.jsonl", None),
    ("unit_test_generation.jsonl", None),
    ("unit-tests/unitTest.jsonl", None),
    ("not_train.jsonl", None),
    ("unit_test/train.jsonl", "train"),
    ("unit_test_test.jsonl", "test"),
])  # fmt: skip
def test_the_split_in_a_name(name, split):
    assert split_in_name(f"data/raw/{name}", "data/raw") == split
    assert split_in_name(name, ".") == split
    assert split_in_name(f"/test/train/{name}", "/test/train") == split


def test_the_name_of_data_raw_says_nothing():
    assert split_in_name("my/train/a.jsonl", "my/train") is None


@pytest.mark.parametrize("name", ["train_test.jsonl", "train-dev/a.csv", "testVal.json"])
def test_a_name_of_two_splits_is_refused(name):
    with pytest.raises(ValueError, match="rename it"):
        split_in_name(f"raw/{name}", "raw")


def test_a_row_and_its_file_must_agree():
    assert agreed_split("test", "test") == agreed_split(None, "test") == "test"
    assert agreed_split("train", None) == "train" and agreed_split(None, None) is None
    with pytest.raises(Rejection, match="says split 'train', .* named for 'test'") as rejection:
        agreed_split("train", "test")
    assert rejection.value.reason == "split_conflict"


def test_spellings_of_splits():
    for name in ("valid", "dev", "val", "Validation", " VAL "):
        assert canonical_split(name) == "validation"
    assert canonical_split("holdout") == "holdout" and canonical_split(None) is None


@pytest.mark.parametrize("value, split", [
    ("train_sft", "train"), ("gsm8k_train", "train"), ("validation_matched", "validation"),
    ("train[:90%]", "train"), ("TEST", "test"), ("devSet", "validation"),
    ("train_test", "train_test"), ("not_train", "not_train"), ("non-test", "non-test"),
    ("Training", "Training"), ("holdout", "holdout"), (0, 0), (None, None),
])  # fmt: skip
def test_the_value_of_split_names_one_by_a_whole_word(value, split):
    assert split_in_value(value) == split


words = st.lists(st.sampled_from("light heat room on off".split()), min_size=1, max_size=6).map(
    " ".join
)
rows = st.lists(
    st.tuples(words, st.sampled_from([None, None, None, "train", "validation", "test"])),
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def _shared_text(nothing_shared):
    global SHARED_TEXT
    SHARED_TEXT = nothing_shared


def similarity(text, other):
    pair = [canonical([("human", said)], None, {}) for said in (text, other)]
    return evidence_similarity(*evidence_of(pair, NOTHING_SHARED))


def splits_of_kept(rows, threshold=0.5):
    """{(text, named split): split} of the rows that dedup keeps."""
    conversations = [canonical([("human", text)], split, {}) for text, split in rows]
    lines = [json.dumps(conversation).encode() for conversation in conversations]
    index = features(lines, threshold, SHARED_TEXT)
    evidence = evidence_of(conversations, NOTHING_SHARED)
    twin, _ = find_twins(index, lambda rows: [evidence[n] for n in rows], threshold)
    return {rows[n]: split_of(conversations[n], 0.3, 0.3) for n in range(len(rows)) if twin[n] < 0}


@settings(derandomize=True, deadline=None, max_examples=300)
@given(rows, rows, st.randoms(use_true_random=False))
def test_no_row_that_stays_changes_its_split_and_none_has_a_twin_in_another(old, new, random):
    mixed = old + new
    random.shuffle(mixed)
    before, after = splits_of_kept(old), splits_of_kept(mixed)
    assert all(after[row] == before[row] for row in before.keys() & after.keys())
    for (_, named), split in after.items():
        assert named in (None, split)
    for ((text, _), split), ((other, _), other_split) in combinations(after.items(), 2):
        assert split == other_split or similarity(text, other) < 0.5
