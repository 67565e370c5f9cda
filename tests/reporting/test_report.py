"""The check and report stages on given metrics: what they write, and how a failure ends."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_finetune.reporting import ladder

ROOT = Path(__file__).parents[2]
NAMES = ("int8", "int4")


@pytest.fixture
def folder(tmp_path, write_params):
    """metrics/ as the stages before check leave it."""
    write_params({"export.quantizations": list(NAMES), "check.min_exact_match": 0.85})
    rung = {
        "loss": 0.1,
        "perplexity": 1.105,
        "kl": 1e-4,
        "top1_agreement": 0.99,
        "max_logit_diff": 1e-5,
        "bytes": 5_000_000,
    }
    exact = {"exact_match": 0.95, "exact_match_low": 0.92, "exact_match_high": 0.98}
    change = {
        "exact_match_change": 0.0,
        "exact_match_change_low": -0.01,
        "exact_match_change_high": 0.01,
    }
    spoken = {"runtime_agreement": 1.0, "follow_up_agreement": 0.98, "faulty_answers": 0.0}
    metrics = {name: rung | exact | change for name in ladder.rungs(NAMES)}
    for name in metrics:
        if name.startswith(ladder.RUNTIMES):
            metrics[name] |= spoken
    for key in change:
        del metrics["merged"][key]
    (tmp_path / "metrics").mkdir()
    split = {"rows": 1500, "turns": 1900, "supervised_fraction": 0.4, "formats": {"alpaca": 700}}
    write(
        tmp_path,
        "data",
        {"splits": {"train": split, "test": split}, "overlong": 0, "rows": {"raw": 1600}},
    )
    write(tmp_path, "train", {"examples": 1500, "steps": 600, "val_loss": 0.05})
    write(tmp_path, "evaluate", metrics)
    (tmp_path / "models/bundle").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / f"models/bundle/{name}.json").write_text(json.dumps(manifest(name)))
    with open(tmp_path / "metrics/training_log.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "loss", "val_loss"])
        rows.writerows([[step, 3 / step, "" if step < 5 else 2 / step] for step in range(1, 20)])
    return tmp_path


def manifest(name):
    adapter = {
        "rank": 16,
        "alpha": 32.0,
        "use_rslora": True,
        "dropout": 0.1,
        "targets": ["q_proj", "o_proj"],
    }
    files = {
        f"{name}.{kind}": {"bytes": 2_000_000, "sha256": f"{name} {kind}"}
        for kind in ladder.RUNTIMES
    }
    return {"adapter": adapter, "bundles": files}


def write(folder, name, content):
    (folder / f"metrics/{name}.json").write_text(json.dumps(content))


def run(folder, script):
    return subprocess.run(
        [sys.executable, ROOT / f"scripts/{script}.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def edit(folder, rung, **figures):
    metrics = json.loads((folder / "metrics/evaluate.json").read_text())
    metrics[rung] |= figures
    write(folder, "evaluate", metrics)


def test_check_passes_and_says_so_by_hop(folder):
    done = run(folder, "check")
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "metrics/check.json").read_text())
    assert (result["fail"], result["inconclusive"]) == (0, 0)
    assert list(result["hops"]) == sorted(ladder.hops(NAMES))
    assert result["hops"]["merge"]["lora.max_logit_diff"] == {
        "threshold": 0.001,
        "value": 1e-5,
        "verdict": "pass",
    }


def test_check_fails_with_one_message_and_leaves_the_verdicts(folder):
    edit(folder, "tflite_int4", kl=2.5)
    done = run(folder, "check")
    assert done.returncode == 1
    assert "error: the export chain breaks at hop quantize@int4:" in done.stderr
    assert "tflite_int4.kl is 2.5, threshold" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((folder / "metrics/check.json").read_text())["fail"] == 1


def test_check_reports_what_the_sample_cannot_tell_and_goes_on(folder):
    edit(folder, "lora", exact_match_low=0.8)
    done = run(folder, "check")
    assert done.returncode == 0
    assert re.search(
        r"inconclusive +train: lora.exact_match is 0.95 \(95 % interval 0.8 to 0.98\)", done.stdout
    )


def test_check_without_metrics_names_the_stage(folder):
    (folder / "metrics/evaluate.json").unlink()
    done = run(folder, "check")
    assert done.returncode == 1
    assert "dvc repro evaluate" in done.stderr


def test_the_report_tells_the_whole_story_in_the_same_bytes_each_time(folder):
    pictures = ("ladder.png", "training.png")
    assert run(folder, "check").returncode == 0
    written = []
    for _ in range(2):
        done = run(folder, "report")
        assert done.returncode == 0, done.stderr
        written.append(
            [(folder / "metrics" / name).read_bytes() for name in ("report.md", *pictures)]
        )
    assert written[0] == written[1]
    text = written[0][0].decode()
    for rung in ladder.rungs(NAMES):
        assert f"| `{rung}` |" in text
    assert [f"({name})" in text for name in pictures] == [True, True]
    assert all(
        picture.startswith(b"\x89PNG") and b"matplotlib" not in picture
        for picture in written[0][1:]
    )
    assert "| 1,500 |" in text and "| `train.learning_rate` |" in text
    assert not re.search(r"\bNone\b|\bnan\b|\{|\}", text)


def test_the_gate_in_the_report_is_in_ladder_order(folder):
    assert run(folder, "check").returncode == run(folder, "report").returncode == 0
    gate = (folder / "metrics/report.md").read_text().split("## The gate")[1].split("## ")[0]
    hops = re.findall(r"^\| ([a-z0-9@_]+) \| `", gate, re.MULTILINE)
    assert list(dict.fromkeys(hops)) == ladder.hops(NAMES)


def test_the_report_names_the_adapters_own_settings_and_the_files_by_digest(folder):
    assert run(folder, "check").returncode == run(folder, "report").returncode == 0
    text = (folder / "metrics/report.md").read_text()
    assert "LoRA (rank 16, alpha 32, q_proj, o_proj)" in text  # params.yaml says rank 8
    assert "| `lora.use_rslora` | true |" in text and "| `lora.dropout` | 0.1 |" in text
    assert "| `models/bundle/int8.task` | 2,000,000 | `int8 task` |" in text


def test_the_report_says_how_a_bundle_does_in_a_chat_of_its_own(folder):
    assert run(folder, "check").returncode == run(folder, "report").returncode == 0
    assert "| `task_int4` | 1.000 | 0.980 | 0.000 |" in (folder / "metrics/report.md").read_text()
