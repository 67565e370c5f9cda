"""Writes the model card: data, training, the ladder, the gate's verdicts, how to run it, limits.

Reads    metrics/{data,train,evaluate,check}.json, metrics/training_log.csv, models/bundle/*.json, params.yaml
Writes   metrics/report.md, metrics/ladder.png, metrics/training.png
Run      python scripts/report.py
"""

import csv
from dataclasses import asdict

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.evaluation.card import card
from gemma_finetune.evaluation.config import CheckConfig, EvaluateConfig
from gemma_finetune.evaluation.ladder import table
from gemma_finetune.evaluation.plots import plot_ladder, plot_training
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside, made_by, read_json, require

# Every section that decides a result, so that a parameter which no stage knows is refused at the latest here.
SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "lora": LoRAConfig,
    "train": TrainingConfig,
    "export": ExportConfig,
    "evaluate": EvaluateConfig,
    "check": CheckConfig,
}


def main():
    params = {name: asdict(load_section(name, section)) for name, section in SECTIONS.items()}
    stages = {"data": "format", "train": "train", "evaluate": "evaluate", "check": "check"}
    metrics = {name: read_json(require(f"metrics/{name}.json", stage)) for name, stage in stages.items()}
    quantizations = params["export"]["quantizations"]
    with open(require("metrics/training_log.csv", "train"), encoding="utf-8", newline="") as file:
        log = list(csv.DictReader(file))
    manifests = {name: read_json(require(f"models/bundle/{name}.json", f"bundle@{name}")) for name in quantizations}
    with made_by("evaluate", "metrics/evaluate.json"):
        rows = table(metrics["evaluate"], quantizations)
    with made_by("check", *(f"metrics/{name}.json" for name in stages)):
        text = card(params, metrics["data"], metrics["train"], rows, metrics["check"], manifests)
    with made_by("train", "metrics/training_log.csv"), aside("metrics/training.png") as temporary:
        plot_training(log, temporary)
    with aside("metrics/ladder.png") as temporary:
        plot_ladder(rows, temporary)
    with aside("metrics/report.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print("metrics/report.md, with metrics/ladder.png and metrics/training.png")


if __name__ == "__main__":
    run(main)
