"""Metrics as the stages before `check` leave them, and a way to run a script on them."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

import parameters
from gemma_finetune.config import BUNDLE_KINDS
from gemma_finetune.reporting import ladder

ROOT = Path(__file__).parents[2]
NAMES = ("int8", "int4")

TEST_SET = {
    "task": "exact",
    "score": "exact_match",
    "answers": 300,
    "conversations": 200,
    "found": 210,
    "positions": 5400,
    "max_tokens": 96,
    "reference_length": 21.5,
}


def spread(name: str, value: float) -> dict[str, float]:
    """A figure with an interval."""
    return {name: value, f"{name}_low": value - 0.03, f"{name}_high": value + 0.03}


CHANGE = {
    "exact_match_change": 0.0,
    "exact_match_change_low": -0.01,
    "exact_match_change_high": 0.01,
}


def healthy() -> dict[str, dict]:
    """metrics/evaluate.json's content with nothing wrong."""
    rung = {
        "loss": 0.1,
        "perplexity": 1.105,
        "kl": 1e-4,
        "top1_agreement": 0.99,
        "max_logit_diff": 1e-5,
        "exact_match": 0.95,
        "exact_match_low": 0.92,
        "exact_match_high": 0.98,
        "bytes": 5_000_000,
    }
    answers = {"faulty_answers": 0.0, "cut_off": 0.0} | spread("answer_length", 20.0)
    answers |= spread("answer_length_change", 0.1)
    bundle = {"runtime_agreement": 1.0, "follow_up_agreement": 0.98}
    rungs = {name: rung | CHANGE for name in ladder.rungs(NAMES)}
    for name in rungs:
        if name.startswith(BUNDLE_KINDS):
            rungs[name] |= answers | bundle | {"sha256": f"digest of {name}"}
        elif name in ("base", "merged"):
            rungs[name] |= answers
    rungs["merged"] = {key: value for key, value in rungs["merged"].items() if "change" not in key}
    return rungs | {"test_set": dict(TEST_SET)}


def healthy_text() -> dict[str, dict]:
    """The same of free text: only rungs that generate have its figures, and all are low."""
    metrics = healthy()
    for name in ladder.rungs(NAMES):
        metrics[name] |= spread("exact_match", 0.03)
        if "cut_off" in metrics[name]:
            metrics[name] |= spread("chrf", 0.3) | spread("rouge_l", 0.2) | {"cut_off": 0.4}
            if name != "merged":
                for figure in ("chrf_change", "rouge_l_change"):
                    metrics[name] |= {figure: 0.0, f"{figure}_low": -0.01, f"{figure}_high": 0.01}
    metrics["test_set"] |= {"task": "text", "score": "chrf"}
    return metrics


class Folder:
    """A working folder with params.yaml, metrics/ and models/measured/."""

    def __init__(self, path: Path):
        self.path = path

    def run(self, script: str) -> subprocess.CompletedProcess:
        command = [sys.executable, ROOT / f"scripts/{script}.py"]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True, timeout=120)

    def read(self, name: str) -> dict:
        return json.loads((self.path / f"metrics/{name}.json").read_text())

    def write(self, name: str, content: dict) -> None:
        (self.path / f"metrics/{name}.json").write_text(json.dumps(content))

    def edit(self, rung: str, **figures: float) -> None:
        """Changes figures of a rung in metrics/evaluate.json."""
        metrics = self.read("evaluate")
        metrics[rung] |= figures
        self.write("evaluate", metrics)

    def report(self) -> str:
        return (self.path / "metrics/report.md").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return make_folder(tmp_path)


def make_folder(path: Path) -> Folder:
    params = parameters.resolved()
    params["export"]["quantizations"] = list(NAMES)
    params["check"]["min_score"]["exact"] = 0.85
    (path / "params.yaml").write_text(json.dumps(params))
    (path / "metrics").mkdir()
    (path / "models/measured").mkdir(parents=True)
    folder = Folder(path)

    split = {"rows": 1500, "turns": 1900, "supervised_fraction": 0.4, "formats": {"alpaca": 700}}
    splits = {"train": split, "test": split}
    rows = {"raw": 1600, "validate": 1590, "convert": 1590, "dedup": 1502, "format": 1500}
    folder.write("data", {"splits": splits, "overlong": 2, "rows": rows})
    folder.write("train", {"examples": 1500, "steps": 600, "val_loss": 0.05})
    folder.write("evaluate", healthy())
    for name, content in measured().items():
        (path / f"models/measured/{name}.json").write_text(json.dumps(content))
    with open(path / "metrics/training_log.csv", "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "loss", "val_loss"])
        for step in range(1, 20):
            log.writerow([step, 3 / step, "" if step < 5 else 2 / step])
    return folder


def manifest(name: str) -> dict:
    adapter = {
        "rank": 16,
        "alpha": 32.0,
        "use_rslora": True,
        "dropout": 0.1,
        "targets": ["q_proj", "o_proj"],
    }
    bundles = {}
    for kind in BUNDLE_KINDS:
        bundles[f"{name}.{kind}"] = {"bytes": 2_000_000, "sha256": f"{name} {kind}"}
    return {"adapter": adapter, "bundles": bundles}


def measured() -> dict[str, dict]:
    """What models/measured/*.json hold that the report reads, by name."""
    turns = []
    for number in range(25):
        turn = {"conversation": f"chat-{number}", "place": 0, "asked": number != 0}
        turns.append(turn | {"question": f"Question {number}?", "reference": f"Right {number}."})

    def rung(name: str) -> dict:
        texts = [f"{name} says {number}." for number in range(1, 25)]
        return {"answers": [{"text": text, "tokens": 4, "stopped": True} for text in texts]}

    found = {"float": {"test_set": {"turns": turns}, "rungs": {}}}
    for name in ("base", "merged"):
        found["float"]["rungs"][name] = rung(name)
    for name in NAMES:
        found[name] = {"rungs": {f"task_{name}": rung(name)}, "made_of": manifest(name)}
    return found


def holds_a_list(value) -> bool:
    """Whether there is a list anywhere in a JSON value."""
    if isinstance(value, dict):
        return any(holds_a_list(item) for item in value.values())
    return isinstance(value, list)
