"""Writes the model card: data, training, the ladder, the gate's verdicts, how to run it, limits.

Reads    metrics/{data,train,evaluate,check}.json, metrics/training_log.csv, models/bundle/*.json,
         params.yaml (data, model, train, export)
Writes   metrics/report.md, metrics/ladder.csv, metrics/ladder.png, metrics/training.png
Run      python scripts/report.py
"""

import csv
from dataclasses import asdict
from typing import Any

from gemma_finetune.config import AUTO, load_section, read_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.models.config import ModelConfig
from gemma_finetune.reporting.card import card
from gemma_finetune.reporting.ladder import table, write_table
from gemma_finetune.reporting.plots import plot_ladder, plot_training
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside, made_by, read_json, require

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
    metrics, manifests = {}, {}
    for name, stage in STAGES.items():
        metrics[name] = read_json(require(f"metrics/{name}.json", stage))
    for name in quantizations:
        manifests[name] = read_json(require(f"models/bundle/{name}.json", f"bundle@{name}"))
    with open(require("metrics/training_log.csv", "train"), encoding="utf-8", newline="") as file:
        log = list(csv.DictReader(file))

    with made_by("evaluate", "metrics/evaluate.json"):
        rows = table(metrics["evaluate"], quantizations)
    with made_by("check", *(f"metrics/{name}.json" for name in STAGES)):
        text = card(params, metrics["data"], metrics["train"], rows, metrics["check"], manifests)

    with made_by("train", "metrics/training_log.csv"), aside("metrics/training.png") as path:
        plot_training(log, path)
    with aside("metrics/ladder.png") as path:
        plot_ladder(rows, path)
    with aside("metrics/ladder.csv") as path:
        write_table(rows, path)
    with aside("metrics/report.md") as path:
        path.write_text(text, encoding="utf-8")
    print("metrics/report.md, with metrics/ladder.png and metrics/training.png")


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
