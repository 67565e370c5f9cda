"""A near-twin in another split is found; one in the same split is no leak."""

import numpy as np
import pytest

from gemma_finetune.data.evidence import (
    compared_shingles,
    evidence_of,
)
from gemma_finetune.data.leakage import Leak, find_leaks, summarize
from gemma_finetune.data.minhash import band_keys
from gemma_finetune.data.shared_text import (
    SharedText,
    split_sentences,
)
from gemma_finetune.data.split import SPLITS

NOTHING_SHARED = SharedText(20, np.zeros(0, np.uint32))
LONG = " ".join(f"word{n}" for n in range(100))
TRAIN, VALIDATION, TEST = range(len(SPLITS))


def leaks(texts, splits):
    rows = [{"conversations": [{"from": "human", "value": text}]} for text in texts]
    sentences = split_sentences(rows)
    bands = band_keys(*compared_shingles(sentences, NOTHING_SHARED, len(rows)), 0.9)
    evidence = evidence_of(rows, NOTHING_SHARED)
    chosen = lambda numbers: [evidence[n] for n in numbers]  # noqa: E731
    return find_leaks(bands, np.array(splits), chosen, 0.9)


@pytest.mark.parametrize("splits, pair", [
    ([TEST, TRAIN], (0, 1)),
    ([TRAIN, TEST], (1, 0)),
    ([TRAIN, VALIDATION], (1, 0)),
    ([TEST, VALIDATION], (0, 1)),
])  # fmt: skip
def test_twins_between_splits_leak(splits, pair):
    assert leaks([LONG, f"{LONG} more"], splits) == [Leak(*pair, pytest.approx(98 / 99))]


@pytest.mark.parametrize("split", [TRAIN, VALIDATION, TEST])
def test_twins_of_one_split_do_not(split):
    assert leaks([LONG, LONG], [split, split]) == []


def test_rows_below_the_threshold_do_not():
    assert leaks(["set it to 20 degrees now", "set it to 21 degrees now"], [TRAIN, TEST]) == []


def test_no_rows_have_no_leaks():
    assert leaks([], []) == []


def test_summary_counts_rows_not_pairs():
    splits = np.array([TRAIN, TRAIN, TEST, VALIDATION])
    found = leaks([LONG] * 4, splits)
    assert len(found) == 5
    assert summarize(found, splits) == {
        "validation_in_train": 1,
        "test_in_train": 1,
        "test_in_validation": 1,
    }
    assert summarize([], splits) == {
        "validation_in_train": 0,
        "test_in_train": 0,
        "test_in_validation": 0,
    }
