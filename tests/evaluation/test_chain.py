"""The evaluate stage on a healthy chain: every rung there, every figure sound."""

import csv

import pytest

from gemma_finetune.reporting import ladder

from .conftest import QUANTIZATIONS


def test_every_rung_is_there_in_order(chain, metrics):
    assert set(metrics) == set(ladder.rungs(QUANTIZATIONS))
    with open(chain / "metrics/ladder.csv", newline="") as file:
        assert [row["rung"] for row in csv.DictReader(file)] == ladder.rungs(QUANTIZATIONS)


def test_the_adapter_taught_the_conversations_and_nothing_lost_them(metrics):
    assert metrics["base"]["exact_match"] == 0
    assert {
        rung: m["exact_match"] for rung, m in metrics.items() if rung != "base"
    } == dict.fromkeys(set(metrics) - {"base"}, 1.0)


def test_bundles_answer_as_their_logits_foretell_and_follow_up(metrics):
    for name in QUANTIZATIONS:
        for runtime in ladder.RUNTIMES:
            rung = metrics[f"{runtime}_{name}"]
            assert (
                rung["runtime_agreement"],
                rung["follow_up_agreement"],
                rung["faulty_answers"],
            ) == (1, 1, 0)


@pytest.mark.parametrize("rung", ["lora", "transformers", "tflite_float32"])
def test_float_rungs_agree_with_the_merged_model(metrics, rung):
    assert metrics[rung]["max_logit_diff"] < 1e-3
    assert metrics[rung]["top1_agreement"] == 1
