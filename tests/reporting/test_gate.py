import copy
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_finetune.config import load_section
from gemma_finetune.evaluation.config import CheckConfig
from gemma_finetune.reporting import ladder
from gemma_finetune.reporting.gate import CAUSES, FAIL, INCONCLUSIVE, PASS, checks, failure
from gemma_finetune.utils.cli import UserError

NAMES = ("int8", "int4")
DEFAULTS = load_section("check", CheckConfig, str(Path(__file__).parents[2] / "params.yaml"))
CONFIG = replace(DEFAULTS, min_exact_match=0.85)


def healthy():
    rung = {
        "kl": 0.001,
        "max_logit_diff": 1e-6,
        "exact_match": 0.95,
        "exact_match_low": 0.9,
        "exact_match_high": 0.99,
    }
    change = {
        "exact_match_change": 0.0,
        "exact_match_change_low": -0.01,
        "exact_match_change_high": 0.01,
    }
    spoken = {"runtime_agreement": 1.0, "faulty_answers": 0.0}
    return {name: {**rung, **change, **spoken} for name in ladder.rungs(NAMES)}


def broken(rung, **figures):
    metrics = copy.deepcopy(healthy())
    metrics[rung] |= figures
    return metrics


def verdicts(metrics):
    return {f"{c.rung}.{c.metric}": c.verdict for c in checks(metrics, CONFIG, NAMES)}


def test_a_healthy_ladder_passes():
    found = checks(healthy(), CONFIG, NAMES)
    assert {check.verdict for check in found} == {PASS}
    assert failure(found) is None


def test_every_hop_has_a_check_and_every_stage_its_causes():
    hops = ladder.hops(NAMES)
    assert sorted({c.hop for c in checks(healthy(), CONFIG, NAMES)}, key=hops.index) == hops
    assert {hop.split("@")[0] for hop in hops} == set(CAUSES)


@pytest.mark.parametrize(
    ("rung", "figures", "hop"),
    [
        ("lora", {"exact_match": 0.1, "exact_match_low": 0.05, "exact_match_high": 0.2}, "train"),
        ("lora", {"max_logit_diff": 3.0}, "merge"),
        ("transformers", {"max_logit_diff": 0.02}, "transformers"),
        ("tflite_float32", {"max_logit_diff": 0.02}, "tflite"),
        ("tflite_int4", {"kl": 2.0}, "quantize@int4"),
        ("tflite_int8", {"exact_match_change": -0.3, "exact_match_change_low": -0.4, "exact_match_change_high": -0.2},
         "quantize@int8"),
        ("task_int4", {"runtime_agreement": 0.5}, "bundle@int4"),
        ("litertlm_int8", {"faulty_answers": 0.4}, "bundle@int8"),
    ],
)  # fmt: skip
def test_a_failure_names_hop_figure_threshold_and_causes(rung, figures, hop):
    message = failure(checks(broken(rung, **figures), CONFIG, NAMES))
    metric, value = next(iter(figures.items()))
    assert message.startswith(f"the export chain breaks at hop {hop}")
    assert f"{rung}.{metric} is {value:.4g}" in message
    assert "threshold" in message
    assert CAUSES[hop.split("@")[0]] in message
    assert "as a consequence" not in message


def test_what_fails_after_the_first_broken_hop_comes_second():
    metrics = broken("transformers", max_logit_diff=1.0)
    metrics["tflite_float32"]["max_logit_diff"] = 1.0
    first, _, later = failure(checks(metrics, CONFIG, NAMES)).partition(
        "After it, perhaps as a consequence:"
    )
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
    metrics = broken(
        "lora", exact_match=(low + high) / 2, exact_match_low=low, exact_match_high=high
    )
    assert verdicts(metrics)["lora.exact_match"] == verdict


def test_a_change_the_sample_cannot_resolve_is_no_pass():
    metrics = broken("tflite_int8", exact_match_change_low=-0.06, exact_match_change_high=0.06)
    assert verdicts(metrics)["tflite_int8.exact_match_change"] == INCONCLUSIVE
    assert failure(checks(metrics, CONFIG, NAMES)) is None


def test_nan_is_no_pass():
    assert verdicts(broken("tflite_int8", kl=float("nan")))["tflite_int8.kl"] == FAIL


def test_a_quantization_without_threshold_is_an_error():
    metrics = {
        **healthy(),
        **{f"{k}_mine": healthy()["task_int8"] for k in ("tflite", "task", "litertlm")},
    }
    with pytest.raises(UserError, match="check.max_exact_match_loss: no threshold for mine"):
        checks(metrics, CONFIG, (*NAMES, "mine"))


@pytest.mark.parametrize("damage", ["rung", "figure"])
def test_a_missing_figure_is_an_error_never_a_pass(damage):
    metrics = healthy()
    if damage == "rung":
        del metrics["task_int4"]
    else:
        del metrics["task_int4"]["runtime_agreement"]
    with pytest.raises(
        UserError, match="has no task_int4.runtime_agreement; run `dvc repro evaluate`"
    ):
        checks(metrics, CONFIG, NAMES)
