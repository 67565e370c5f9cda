"""The evaluate stage on a healthy chain: every rung is there, and every figure is sound."""

import pytest

from gemma_finetune.config import BUNDLE_KINDS
from gemma_finetune.evaluation import bundle_rung
from gemma_finetune.reporting import ladder
from gemma_finetune.utils.files import sha256

from .conftest import QUANTIZATIONS

pytestmark = pytest.mark.slow

BUNDLES = [f"{name}.{kind}" for name in QUANTIZATIONS for kind in BUNDLE_KINDS]


RUNGS = ladder.rungs(QUANTIZATIONS)
GENERATING = ("merged", *(f"{kind}_{name}" for name in QUANTIZATIONS for kind in BUNDLE_KINDS))


def test_every_rung_is_there(metrics):
    assert set(metrics) == {*RUNGS, "test_set"}
    found = metrics["test_set"]
    assert (found["conversations"], found["answers"], found["task"]) == (3, 4, "json")


def test_the_adapter_taught_the_conversations_and_nothing_lost_them(metrics):
    exact = {rung: metrics[rung]["exact_match"] for rung in RUNGS}
    assert exact.pop("base") == 0
    assert set(exact.values()) == {1}


@pytest.mark.parametrize("rung", GENERATING)
def test_every_rung_that_generates_has_the_figures_of_the_task(metrics, rung):
    for name in ("json_equal", "json_parsed"):
        assert metrics[rung][name] == metrics[rung][f"{name}_high"] == 1
        assert rung == "merged" or metrics[rung][f"{name}_change"] == 0
    assert metrics[rung]["answer_length"] == metrics["test_set"]["reference_length"]
    assert metrics[rung]["faulty_answers"] == metrics[rung]["cut_off"] == 0


def test_the_base_answers_something_else(metrics):
    assert metrics["base"]["json_equal"] == 0
    assert metrics["base"]["json_equal_change"] == -1
    assert "json_equal" not in metrics["lora"]


@pytest.mark.parametrize("name", QUANTIZATIONS)
@pytest.mark.parametrize("kind", BUNDLE_KINDS)
def test_bundles_answer_as_their_logits_say_and_follow_up(metrics, kind, name):
    rung = metrics[f"{kind}_{name}"]
    assert rung["runtime_agreement"] == 1
    assert rung["follow_up_agreement"] == 1
    assert rung["faulty_answers"] == 0


@pytest.mark.parametrize("rung", ["lora", "transformers", "tflite_float32"])
def test_float_rungs_agree_with_the_merged_model(metrics, rung):
    assert metrics[rung]["max_logit_diff"] < 1e-3
    assert metrics[rung]["top1_agreement"] == 1


def test_the_merged_model_is_not_compared_with_itself(metrics):
    assert not [name for name in metrics["merged"] if "change" in name]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundles_figures_name_the_file_that_they_are_of(chain, metrics, bundle):
    name, _, kind = bundle.rpartition(".")
    assert metrics[f"{kind}_{name}"]["sha256"] == sha256(chain / "models/bundle" / bundle)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_row_with_a_system_text_is_answered_on_every_bundle(chain, test_set, tokenizer, bundle):
    """The runtime reads the very ids of training, or `answers` raises; a `.task` has no system."""
    [turn] = [turn for turn in test_set.turns if "Be brief." in turn.messages[0]["content"]]
    path = chain / "models/bundle" / bundle
    [answer] = bundle_rung.answers(path, [turn], tokenizer, max_tokens=24)
    assert answer.text.strip() == turn.answer


def test_no_list_is_written(metrics):
    """DVC takes a list in a JSON plot for data points."""
    for figures in metrics.values():
        for value in figures.values():
            assert isinstance(value, float | int | str | dict)
    assert all(isinstance(n, int) for n in metrics["task_int8"]["faults"].values())
