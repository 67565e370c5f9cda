import copy
import json
from dataclasses import replace

import pytest

from gemma_finetune.config import load_section
from gemma_finetune.reporting import ladder
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.gate import (
    CAUSES,
    FAIL,
    INCONCLUSIVE,
    PASS,
    checks,
    failed_hops,
    failure,
    read_verdicts,
    verdicts,
)
from gemma_finetune.utils.errors import UserError

from .conftest import NAMES, ROOT, healthy, healthy_text, spread

CONFIG = replace(
    load_section("check", CheckConfig, str(ROOT / "params.yaml")),
    min_score={"exact": 0.85, "json": 0.85, "text": 0.0},
)
WORSE = {
    "exact_match_change": -0.3,
    "exact_match_change_low": -0.4,
    "exact_match_change_high": -0.2,
}


def broken(rung, **figures):
    metrics = copy.deepcopy(healthy())
    metrics[rung] |= figures
    return metrics


def judge(metrics):
    return checks(metrics, CONFIG, NAMES)


def verdict_of(metrics, figure):
    [verdict] = [c.verdict for c in judge(metrics) if f"{c.rung}.{c.metric}" == figure]
    return verdict


def written(metrics):
    """metrics/check.json's content, as it is read from the file."""
    return json.loads(json.dumps(verdicts(judge(metrics), metrics, NAMES), sort_keys=True))


def test_a_healthy_ladder_passes():
    found = judge(healthy())
    assert {check.verdict for check in found} == {PASS}
    assert failure(found) is None


def test_a_healthy_ladder_of_free_text_passes_though_nothing_matches_exactly():
    found = judge(healthy_text())
    assert {check.verdict for check in found} == {PASS}
    judged = {f"{check.rung}.{check.metric}" for check in found}
    assert {"merged.chrf", "task_int8.chrf_change", "litertlm_int4.chrf_change"} <= judged
    assert not [name for name in judged if "exact_match" in name]


def test_every_hop_has_a_check_and_every_stage_its_causes():
    hops = ladder.hops(NAMES)
    assert list(dict.fromkeys(check.hop for check in judge(healthy()))) == hops
    stages = {hop.split("@")[0] for hop in hops}
    figures = {f"{check.hop.split('@')[0]}.{check.metric}" for check in judge(healthy())}
    assert stages <= set(CAUSES) <= stages | figures


@pytest.mark.parametrize(
    ("rung", "figures", "hop"),
    [
        ("lora", {"exact_match": 0.1, "exact_match_low": 0.05, "exact_match_high": 0.2}, "train"),
        ("lora", {"loss": 0.2}, "train"),
        ("merged", {"faulty_answers": 0.5}, "train"),
        ("lora", {"max_logit_diff": 3.0}, "merge"),
        ("transformers", {"max_logit_diff": 0.02}, "transformers"),
        ("tflite_float32", {"max_logit_diff": 0.02}, "tflite"),
        ("tflite_int4", {"kl": 2.0}, "quantize@int4"),
        ("tflite_int8", WORSE, "quantize@int8"),
        ("task_int4", {"runtime_agreement": 0.5}, "bundle@int4"),
        ("litertlm_int8", {"faulty_answers": 0.4}, "bundle@int8"),
    ],
)
def test_a_failure_names_hop_figure_threshold_and_causes(rung, figures, hop):
    message = failure(judge(broken(rung, **figures)))
    metric, value = next(iter(figures.items()))
    assert message.startswith(f"the export chain breaks at hop {hop}")
    assert f"{rung}.{metric} is {value:.4g}" in message
    assert "threshold" in message
    stage = hop.split("@")[0]
    assert CAUSES.get(f"{stage}.{metric}", CAUSES[stage]) in message
    assert "as a consequence" not in message


def test_what_fails_after_the_first_broken_hop_comes_second():
    metrics = broken("transformers", max_logit_diff=1.0)
    metrics["tflite_float32"]["max_logit_diff"] = 1.0
    message = failure(judge(metrics))
    first, _, later = message.partition("After it, perhaps as a consequence:")
    assert "transformers.max_logit_diff" in first
    assert "tflite_float32.max_logit_diff" in later


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.86, 0.95, PASS),
        (0.85, 0.95, PASS),
        (0.8, 0.9, INCONCLUSIVE),
        (0.85 - 1e-9, 1, INCONCLUSIVE),
        (0.7, 0.84, FAIL),
    ],
)
def test_an_interval_over_the_threshold_is_inconclusive(low, high, verdict):
    middle = (low + high) / 2
    metrics = broken("lora", exact_match=middle, exact_match_low=low, exact_match_high=high)
    assert verdict_of(metrics, "lora.exact_match") == verdict


def test_a_change_the_sample_cannot_resolve_is_no_pass():
    metrics = broken("tflite_int8", exact_match_change_low=-0.06, exact_match_change_high=0.06)
    assert verdict_of(metrics, "tflite_int8.exact_match_change") == INCONCLUSIVE
    assert failure(judge(metrics)) is None


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [(0.02, 0, 0.3, PASS), (0.05, 0.01, 0.1, INCONCLUSIVE), (0.05, 0.021, 0.1, FAIL)],
)
def test_a_share_of_faulty_answers_fails_if_it_is_surely_too_large(value, low, high, verdict):
    figures = {"faulty_answers": value, "faulty_answers_low": low, "faulty_answers_high": high}
    assert verdict_of(broken("task_int8", **figures), "task_int8.faulty_answers") == verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [(1, 0.9, 1, PASS), (0.97, 0.9, 1, INCONCLUSIVE), (0.9, 0.85, 0.979, FAIL)],
)
def test_few_answers_of_a_runtime_are_enough_if_they_agree(value, low, high, verdict):
    names = ("runtime_agreement", "runtime_agreement_low", "runtime_agreement_high")
    metrics = broken("task_int8", **dict(zip(names, (value, low, high), strict=True)))
    assert verdict_of(metrics, "task_int8.runtime_agreement") == verdict


def test_a_bundle_whose_answers_its_logits_foretell_is_not_blamed_on_the_runtime():
    metrics = broken("task_int8", faulty_answers=0.4)
    assert CAUSES["bundle.faulty_answers"] in failure(judge(metrics))
    metrics["task_int8"]["runtime_agreement"] = 0.2
    assert CAUSES["bundle"] in failure(judge(metrics))
    assert CAUSES["bundle.faulty_answers"] not in failure(judge(metrics))


def test_a_loss_of_words_at_a_quantization_is_blamed_on_it():
    metrics = healthy_text()
    for rung in ("task_int4", "litertlm_int4"):
        metrics[rung] |= spread("chrf_change", -0.3)
    message = failure(judge(metrics))
    assert message.startswith("the export chain breaks at hop quantize@int4")
    content = verdicts(judge(metrics), metrics, NAMES)
    assert failed_hops(content, "int4.task") == ["quantize@int4"]
    assert failed_hops(content, "int8.task") == []


def test_a_loss_of_words_where_the_runtime_disagrees_is_blamed_on_the_runtime():
    metrics = healthy_text()
    metrics["task_int4"] |= spread("chrf_change", -0.3)
    assert CAUSES["quantize"] in failure(judge(metrics))
    metrics["task_int4"]["runtime_agreement"] = 0.2
    message = failure(judge(metrics))
    assert message.startswith("the export chain breaks at hop quantize@int4")
    assert CAUSES["bundle"] in message and CAUSES["quantize"] not in message


def test_further_figures_are_judged_in_the_tuned_model_and_in_each_bundle():
    config = replace(CONFIG, min_figures={"call_name": 0.9}, max_figures={"false_call": 0.05})
    metrics = healthy()
    for rung in ("merged", *(f"{kind}_{name}" for kind in ("task", "litertlm") for name in NAMES)):
        metrics[rung] |= spread("call_name", 0.95) | spread("false_call", 0.01)
    assert {check.verdict for check in checks(metrics, config, NAMES)} == {PASS}

    metrics["litertlm_int8"] |= spread("false_call", 0.4)
    message = failure(checks(metrics, config, NAMES))
    assert message.startswith("the export chain breaks at hop bundle@int8:")
    assert "litertlm_int8.false_call is 0.4 (95 %" in message
    assert CAUSES["bundle.faulty_answers"] in message

    with pytest.raises(UserError, match="check.max_figures: no figure 'wrong'.*call_name, .*false"):
        checks(metrics, replace(config, max_figures={"wrong": 0.1}), NAMES)


def test_a_task_without_threshold_is_an_error():
    metrics = healthy()
    metrics["test_set"] |= {"task": "songs"}
    with pytest.raises(UserError, match="check.min_score: no threshold for songs"):
        judge(metrics)


def test_nan_is_no_pass():
    assert verdict_of(broken("tflite_int8", kl=float("nan")), "tflite_int8.kl") == FAIL


def test_a_quantization_without_threshold_is_an_error():
    metrics = healthy()
    for kind in ("tflite", "task", "litertlm"):
        metrics[f"{kind}_mine"] = metrics["task_int8"]
    with pytest.raises(UserError, match="check.max_score_loss: no threshold for mine"):
        checks(metrics, CONFIG, (*NAMES, "mine"))


@pytest.mark.parametrize("damage", ["rung", "figure"])
def test_a_missing_figure_is_an_error_never_a_pass(damage):
    metrics = healthy()
    if damage == "rung":
        del metrics["task_int4"]
    else:
        del metrics["task_int4"]["runtime_agreement"]
    expected = "has no task_int4.runtime_agreement; run `dvc repro evaluate`"
    with pytest.raises(UserError, match=expected):
        judge(metrics)


@pytest.mark.parametrize("metrics", [healthy(), broken("tflite_int8", **WORSE)])
def test_verdicts_are_read_as_they_were_written_with_hops_in_ladder_order(metrics):
    found = read_verdicts(written(metrics), NAMES)
    assert set(found) == set(judge(metrics))
    assert list(dict.fromkeys(check.hop for check in found)) == ladder.hops(NAMES)


def test_one_failed_check_fails_the_run_and_an_inconclusive_one_does_not():
    assert written(healthy())["verdict"] == PASS
    assert written(broken("lora", exact_match_low=0.8))["verdict"] == PASS
    failed = written(broken("tflite_int4", kl=2.0))
    assert (failed["verdict"], failed[FAIL], failed[PASS]) == (FAIL, 1, 17)


def test_verdicts_of_other_quantizations_are_not_read():
    content = written(healthy())
    with pytest.raises(KeyError, match="quantize@mine"):
        read_verdicts(content, (*NAMES, "mine"))


def test_a_fault_before_the_quantization_fails_every_bundle():
    content = written(broken("lora", max_logit_diff=3.0))
    for name in content["bundles"]:
        assert failed_hops(content, name) == ["merge"]


def test_a_fault_of_one_quantization_fails_its_bundles_alone():
    content = written(broken("tflite_int4", kl=2.0))
    assert failed_hops(content, "int4.task") == ["quantize@int4"]
    assert failed_hops(content, "int4.litertlm") == ["quantize@int4"]
    assert failed_hops(content, "int8.task") == []


def test_a_fault_of_one_bundle_fails_that_bundle_alone():
    metrics = broken("task_int8", runtime_agreement=0.5, faulty_answers=0.5)
    content = written(metrics)
    assert failed_hops(content, "int8.task") == ["bundle@int8"]
    assert failed_hops(content, "int8.litertlm") == []


def test_what_the_sample_cannot_tell_fails_no_bundle():
    content = written(broken("lora", exact_match_low=0.8))
    assert failed_hops(content, "int8.task") == []
