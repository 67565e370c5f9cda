"""The numbers and tables of the picture of the data."""

import pandas as pd
import pytest

from gemma_finetune.data import statistics


@pytest.fixture
def facts():
    rows = [
        ("train", "alpaca", 2, True, 10, 4),
        ("train", "chatml", 4, False, 30, 6),
        ("test", "alpaca", 2, False, 20, 5),
    ]
    return pd.DataFrame(
        rows, columns=["split", "format", "turns", "system", "tokens", "supervised"]
    )


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
        "formats": {"alpaca": 1, "chatml": 1},
    }


def test_histograms_count_every_row_once(facts):
    tokens, turns = statistics.token_histogram(facts), statistics.turn_histogram(facts)
    assert tokens["rows"].sum() == turns["rows"].sum() == 3
    assert tokens.values.tolist() == [["test", 20, 1], ["train", 10, 1], ["train", 30, 1]]


def test_rows_lost_by_each_stage_add_up():
    flow = statistics.row_flow(
        {"read": 10, "accepted": 8, "rejected": 2}, {"rows": 8, "kept": 5}, overlong=1
    )
    assert flow["rows"].tolist() == [10, 8, 8, 5, 4]
    assert flow["removed"].tolist() == [0, 2, 0, 3, 1]


def test_similarity_to_training():
    nearest = pd.DataFrame(
        {"split": ["test", "test", "test", "validation"], "similarity": [0.0, 0.3, 0.88, 0.5]}
    )
    assert statistics.summarize_nearest(nearest)["test"] == {"median": 0.3, "p95": 0.3, "max": 0.88}
    assert statistics.similarity_histogram(nearest).values.tolist() == [
        ["test", 0.0, 1],
        ["test", 0.3, 1],
        ["test", 0.85, 1],
        ["validation", 0.5, 1],
    ]
