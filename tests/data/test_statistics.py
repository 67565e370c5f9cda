"""The numbers and tables that describe the data."""

import numpy as np
import pytest

from gemma_finetune.data import statistics
from gemma_finetune.data.schemas import FORMATS
from gemma_finetune.data.split import SPLITS

ROWS = [  # split, format, turns, system, tokens, supervised
    ("train", "alpaca", 2, True, 10, 4),
    ("train", "chatml", 4, False, 30, 6),
    ("test", "alpaca", 2, False, 20, 5),
]


def to_facts(rows):
    """Rows as facts.npz holds them."""
    split, format, turns, system, tokens, supervised = zip(*rows, strict=True)
    return {
        "split": np.array([SPLITS.index(name) for name in split], np.int32),
        "format": np.array([list(FORMATS).index(name) for name in format], np.int32),
        "turns": np.array(turns, np.int32),
        "system": np.array(system, np.int32),
        "tokens": np.array(tokens, np.int32),
        "supervised": np.array(supervised, np.int32),
    }


@pytest.fixture
def facts():
    return statistics.facts_table(to_facts(ROWS))


def test_facts_have_their_names_back(facts):
    assert facts["split"].tolist() == ["train", "train", "test"]
    assert facts["format"].tolist() == ["alpaca", "chatml", "alpaca"]
    assert facts["tokens"].tolist() == [10, 30, 20]


def test_summary_of_each_split(facts):
    summary = statistics.summarize(facts)
    assert list(summary) == ["train", "test"]
    assert summary["train"] == {
        "rows": 2,
        "turns": 6,
        "turns_mean": 3.0,
        "multi_turn_fraction": 0.5,
        "system_texts": 1,
        "tokens": 40,
        "tokens_median": 10,
        "tokens_p95": 10,
        "tokens_max": 30,
        "supervised_fraction": 0.25,
        "formats": {"sharegpt": 0, "alpaca": 1, "chatml": 1, "columns": 0},
    }
    shown = statistics.as_text(summary).splitlines()
    assert shown[0].split() == ["train", "test"]
    assert shown[1].split() == ["rows", "2", "1"]


def test_one_row_is_enough():
    facts = statistics.facts_table(to_facts(ROWS[:1]))
    assert statistics.summarize(facts)["train"]["tokens_p95"] == 10
    assert statistics.token_histogram(facts).values.tolist() == [["train", 10, 1]]
    assert statistics.turn_histogram(facts).values.tolist() == [["train", 2, 1]]


def test_histograms_count_every_row_once(facts):
    tokens = statistics.token_histogram(facts)
    turns = statistics.turn_histogram(facts)
    assert tokens["rows"].sum() == turns["rows"].sum() == 3
    assert tokens.values.tolist() == [["train", 10, 1], ["train", 30, 1], ["test", 20, 1]]


def test_rows_lost_by_each_stage_add_up():
    validate = {"read": 10, "accepted": 8, "rejected": 2}
    dedup = {"rows": 8, "kept": 5}
    flow = statistics.row_flow(validate, dedup, formatted=4, left_out=1)
    assert flow["rows"].tolist() == [10, 8, 8, 5, 4]
    assert flow["removed"].tolist() == [0, 2, 0, 3, 1]


def test_similarity_to_training():
    splits = ["test", "test", "test", "validation"]
    nearest = statistics.nearest_table(splits, np.array([0.0, 0.3, 0.88, 0.5]))
    assert statistics.summarize_nearest(nearest) == {
        "validation": {"median": 0.5, "p95": 0.5, "max": 0.5},
        "test": {"median": 0.3, "p95": 0.3, "max": 0.88},
    }
    assert statistics.similarity_histogram(nearest).values.tolist() == [
        ["validation", 0.5, 1],
        ["test", 0.0, 1],
        ["test", 0.3, 1],
        ["test", 0.85, 1],
    ]


def test_no_held_out_row_gives_an_empty_histogram():
    nearest = statistics.nearest_table([], np.zeros(0))
    assert statistics.summarize_nearest(nearest) == {}
    histogram = statistics.similarity_histogram(nearest)
    assert list(histogram) == ["split", "similarity", "rows"] and len(histogram) == 0
