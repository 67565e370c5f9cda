"""Writes the model card: data, training, the ladder, the gate's verdicts, how to run it, limits.

Reads    metrics/{data,train,evaluate,check}.json, metrics/training_log.csv,
         models/measured/*.json, params.yaml (data, model, train, export)
Writes   metrics/report.md, metrics/samples.md, metrics/ladder.csv, metrics/ladder.png,
         metrics/training.png
Run      python scripts/report.py
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemma_finetune.config import AUTO, load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.models.config import ModelConfig
from gemma_finetune.reporting.card import card
from gemma_finetune.reporting.ladder import table, write_table
from gemma_finetune.reporting.plots import plot_ladder, plot_training
from gemma_finetune.reporting.samples import samples
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside, made_by, read_json, require
from gemma_finetune.utils.params import read_section

MEASURED = Path("models/measured")

# No other stage reads the whole of these sections, so a parameter that does not exist is refused
# here at the latest.
SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "train": TrainingConfig,
    "export": ExportConfig,
}
STAGES = {"data": "describe", "train": "train", "evaluate": "evaluate", "check": "check"}


def main() -> None:
    params: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        params[name] = asdict(load_section(name, section))
    params["auto"] = automatic()
    quantizations = params["export"]["quantizations"]
    metrics = {}
    for name, stage in STAGES.items():
        metrics[name] = read_json(require(f"metrics/{name}.json", stage))
    measured = {"float": read_json(require(MEASURED / "float.json", "measure_float"))}
    for name in quantizations:
        measured[name] = read_json(require(MEASURED / f"{name}.json", f"measure@{name}"))
    with open(require("metrics/training_log.csv", "train"), encoding="utf-8", newline="") as file:
        log = list(csv.DictReader(file))

    with made_by("measure", *(MEASURED / f"{name}.json" for name in measured)):
        manifests = {name: measured[name]["made_of"] for name in quantizations}
        answers = ten_questions(measured, quantizations)
    with made_by("evaluate", "metrics/evaluate.json"):
        rows = table(metrics["evaluate"], quantizations)
        test_set = metrics["evaluate"]["test_set"]
    with made_by("check", *(f"metrics/{name}.json" for name in STAGES)):
        data, train, check = metrics["data"], metrics["train"], metrics["check"]
        text = card(params, data, train, rows, check, manifests, test_set, answers)

    with made_by("train", "metrics/training_log.csv"), aside("metrics/training.png") as path:
        plot_training(log, path)
    with aside("metrics/ladder.png") as path:
        plot_ladder(rows, test_set["score"], path)
    with aside("metrics/ladder.csv") as path:
        write_table(rows, path)
    with aside("metrics/samples.md") as path:
        path.write_text(f"# Ten questions\n\n{answers}\n", encoding="utf-8")
    with aside("metrics/report.md") as path:
        path.write_text(text, encoding="utf-8")
    print("metrics/report.md and samples.md, with metrics/ladder.png and metrics/training.png")


def ten_questions(measured: dict[str, dict], quantizations: Sequence[str]) -> str:
    """Ten questions with the answers of the base, the merged model and each `.task`."""
    shown = {rung: measured["float"]["rungs"][rung] for rung in ("base", "merged")}
    for name in quantizations:
        shown[f"task_{name}"] = measured[name]["rungs"][f"task_{name}"]
    return samples(shown, measured["float"]["test_set"]["turns"], count=10)


def automatic() -> set[str]:
    """The parameters that are `auto` in params.yaml, by full name."""
    found = set()
    for section in SECTIONS:
        for key, value in read_section(section).items():
            if value == AUTO:
                found.add(f"{section}.{key}")
    return found


if __name__ == "__main__":
    run(main)
