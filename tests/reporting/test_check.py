"""The stage `check` and scripts/gate.py on given metrics: what they write, print and exit with."""

import json
import re

import pytest

from gemma_finetune.reporting import ladder
from gemma_finetune.reporting.gate import CAUSES

from .conftest import NAMES, ROOT, healthy_text, holds_a_list


def count_figures(value) -> int:
    return sum(map(count_figures, value.values())) if isinstance(value, dict) else 1


def test_check_passes_and_says_so_by_hop(folder):
    done = folder.run("check")
    assert done.returncode == 0, done.stderr
    result = folder.read("check")
    assert (result["verdict"], result["fail"], result["inconclusive"]) == ("pass", 0, 0)
    assert list(result["hops"]) == sorted(ladder.hops(NAMES))
    assert result["hops"]["merge"]["lora.max_logit_diff"] == {
        "threshold": 0.001,
        "value": 1e-5,
        "verdict": "pass",
    }
    assert "FAILED" not in done.stdout


def test_check_succeeds_and_keeps_every_figure_when_a_check_fails(folder):
    """DVC saves nothing of a run in which a stage fails."""
    folder.edit("tflite_int4", kl=2.5)
    done = folder.run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "FAILED: the export chain breaks at hop quantize@int4:" in done.stdout
    result = folder.read("check")
    assert (result["verdict"], result["fail"]) == ("fail", 1)
    assert result["hops"]["quantize@int4"]["tflite_int4.kl"]["verdict"] == "fail"
    summary = folder.read("summary")
    assert (summary["gate"], summary["kl"]["int4"]) == ("fail", 2.5)


def test_the_gate_ends_with_the_failure_by_hop_figure_threshold_and_causes(folder):
    folder.edit("tflite_int4", kl=2.5)
    folder.edit("task_int4", runtime_agreement=0.5)
    assert folder.run("check").returncode == 0
    done = folder.run("gate")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the export chain breaks at hop quantize@int4:\n"
        "  quantize@int4: tflite_int4.kl is 2.5, threshold 0.5\n"
        f"  likeliest causes: {CAUSES['quantize']}\n"
        "After it, perhaps as a consequence:\n"
        "  bundle@int4: task_int4.runtime_agreement is 0.5, threshold 0.98\n"
    )


def test_the_gate_passes_a_healthy_run(folder):
    folder.run("check")
    done = folder.run("gate")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "the gate: no check failed (18 passed, 0 inconclusive)\n"


def test_the_gate_does_not_pass_a_training_that_was_not_judged(folder):
    folder.run("check")
    folder.write("train", folder.read("train") | {"steps": 700})
    done = folder.run("gate")
    assert (done.returncode, done.stdout) == (1, "")
    expected = "metrics/train.json is not of the training that was judged; run `dvc repro`"
    assert done.stderr == f"error: {expected}\n"


def test_the_gate_does_not_pass_a_bundle_that_was_not_judged(folder):
    folder.run("check")
    (folder.path / "models/bundle").mkdir()
    (folder.path / "models/bundle/int8.task").write_text("of another run")
    done = folder.run("gate")
    assert (done.returncode, done.stdout) == (1, "")
    expected = "models/bundle/int8.task is not the file that was judged; run `dvc repro`"
    assert done.stderr == f"error: {expected}\n"


@pytest.mark.parametrize(
    "changed", [{"min_score": {"exact": 0.99}}, {"max_figures": {"answer_length": 5}}, {}]
)
def test_the_gate_does_not_pass_verdicts_by_other_thresholds_or_figures(folder, changed):
    folder.run("check")
    if changed:
        params = json.loads((folder.path / "params.yaml").read_text())
        params["check"] |= changed
        (folder.path / "params.yaml").write_text(json.dumps(params))
    else:
        folder.edit("tflite_int4", kl=2.5)
    done = folder.run("gate")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: metrics/check.json was judged by other thresholds or figures than params.yaml and "
        "metrics/evaluate.json have now; run `dvc repro check`\n"
    )


def test_what_the_sample_cannot_tell_is_no_failure(folder):
    folder.edit("lora", exact_match_low=0.8)
    done = folder.run("check")
    assert done.returncode == 0
    expected = r"inconclusive +train: lora.exact_match is 0.95 \(95 % interval 0.8 to 0.98\)"
    assert re.search(expected, done.stdout)
    assert folder.read("check")["verdict"] == "pass"
    gate = folder.run("gate")
    assert gate.returncode == 0
    assert "(17 passed, 1 inconclusive)" in gate.stdout


@pytest.mark.parametrize("quantizations", [["int8", "int4", "int4_embedding"], ["int4_embedding"]])
def test_the_gate_does_not_pass_verdicts_of_other_quantizations(
    folder, write_params, quantizations
):
    folder.run("check")
    write_params({"export.quantizations": quantizations})
    done = folder.run("gate")
    assert done.returncode == 1
    assert "metrics/check.json: not what the stage `check` writes" in done.stderr
    assert "`dvc repro check`" in done.stderr


@pytest.mark.parametrize(("script", "stage"), [("check", "evaluate"), ("gate", "check")])
def test_missing_metrics_name_their_stage(folder, script, stage):
    (folder.path / "metrics/evaluate.json").unlink()
    done = folder.run(script)
    assert done.returncode == 1
    assert f"dvc repro {stage}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_summary_is_a_dozen_figures_at_most(folder):
    folder.run("check")
    summary = folder.read("summary")
    assert count_figures(summary) <= 12
    assert summary["exact_match"] == {"base": 0.95, "lora": 0.95, "int8": 0.95, "int4": 0.95}
    assert summary["kl"] == {"int8": 1e-4, "int4": 1e-4}
    assert summary["mb"] == {"int8": 5.0, "int4": 5.0}
    assert (summary["gate"], summary["val_loss"]) == ("pass", 0.05)


def test_the_summary_has_the_figure_of_the_task(folder):
    folder.write("evaluate", healthy_text())
    folder.run("check")
    summary = folder.read("summary")
    assert count_figures(summary) <= 12 and "exact_match" not in summary
    assert summary["chrf"] == {"base": 0.3, "merged": 0.3, "int8": 0.3, "int4": 0.3}


def test_the_summary_has_no_val_loss_if_no_row_validates(folder):
    folder.write("train", {"examples": 1500, "steps": 600})
    assert folder.run("check").returncode == 0
    assert "val_loss" not in folder.read("summary")


def test_no_file_that_dvc_plots_holds_a_list(folder):
    """DVC takes a list in a JSON plot for data points."""
    folder.run("check")
    assert not holds_a_list(folder.read("check"))
    for name in ("evaluate", "check"):
        assert not holds_a_list(json.loads((ROOT / f"metrics/{name}.json").read_text()))


def test_the_verdicts_say_which_bundles_were_judged(folder):
    folder.run("check")
    bundles = folder.read("check")["bundles"]
    assert set(bundles) == {"int8.task", "int8.litertlm", "int4.task", "int4.litertlm"}
    assert bundles["int4.task"] == "digest of task_int4"


def test_metrics_of_an_older_evaluate_name_their_stage(folder):
    metrics = folder.read("evaluate")
    del metrics["task_int8"]["sha256"]
    folder.write("evaluate", metrics)
    done = folder.run("check")
    assert done.returncode == 1
    assert "metrics/evaluate.json: not what the stage `evaluate` writes" in done.stderr
