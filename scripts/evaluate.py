"""Puts what was measured together: the figures of every rung, with their intervals.

Reads    models/measured/float.json and one NAME.json a quantization,
         params.yaml (evaluate, export.quantizations)
Writes   metrics/evaluate.json: one object a rung, and `test_set`, which names the task
Run      python scripts/evaluate.py

The task decides which figures answers get besides exact match: `evaluate.task`, or what the
references look like. `bytes` is the size of the weights: the adapter alone for `lora`, the file
itself for a `.tflite` or a bundle. How good a rung is, the stage `check` judges.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gemma_finetune.config import load_quantizations, load_section
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.figures.choose import choose
from gemma_finetune.figures.rungs import Turns, all_rungs
from gemma_finetune.figures.task import Task
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import made_by, read_json, require, write_json
from gemma_finetune.utils.rounding import rounded

MEASURED = Path("models/measured")


def main() -> None:
    config, quantizations = load_section("evaluate", EvaluateConfig), load_quantizations()
    warn_of_strays(quantizations)
    base = read_json(require(MEASURED / "float.json", "measure_float"))
    rungs = dict(base["rungs"])
    for name in quantizations:
        rungs |= read_json(require(MEASURED / f"{name}.json", f"measure@{name}"))["rungs"]

    with made_by("measure", *(MEASURED / f"{name}.json" for name in ("float", *quantizations))):
        turns = Turns(base["test_set"].pop("turns"))
        task = choose(config.task, [turn["reference"] for turn in turns.records])
        figures = all_rungs(rungs, turns, task)
        test_set = base["test_set"] | describe(turns, task)
    write_json("metrics/evaluate.json", rounded(figures | {"test_set": test_set}))
    show(figures, task)
    how = "told by the references" if config.task == "auto" else "evaluate.task"
    print(f"task: {task.name} ({how}), judged by {task.score}")


def warn_of_strays(quantizations: Sequence[str]) -> None:
    """Names files of quantizations that are no longer in params.yaml."""
    names = {"float.json", "merged.safetensors", *(f"{name}.json" for name in quantizations)}
    left = sorted(path for path in MEASURED.glob("[!.]*") if path.name not in names)
    if left:
        print(
            f"{', '.join(map(str, left))}: not of a quantization in params.yaml. "
            "Delete them: DVC hashes the whole folder, and a fresh clone does not have them",
            file=sys.stderr,
        )


def describe(turns: Turns, task: Task) -> dict:
    """What metrics/evaluate.json says of the test set beside its sizes."""
    lengths = [len(reference.strip()) for reference in turns.references]
    return {
        "task": task.name,
        "score": task.score,
        "answers": len(turns.asked),
        "reference_length": float(np.mean(lengths)),
    }


def show(rungs: dict[str, dict], task: Task) -> None:
    """Prints the ladder."""
    names = dict.fromkeys(("exact_match", task.score))
    titles = "".join(f"{name.replace('_', ' '):>24}" for name in names)
    print(f"{'rung':<16}{titles}{'perplexity':>12}{'KL':>10}{'max diff':>10}{'MB':>9}")
    for rung, figures in rungs.items():
        cells = "".join(f"{interval(figures, name):>24}" for name in names)
        print(
            f"{rung:<16}{cells}{figures['perplexity']:>12.4g}{figures['kl']:>10.2g}"
            f"{figures['max_logit_diff']:>10.2g}{figures['bytes'] / 1e6:>9.2f}"
        )


def interval(figures: dict, name: str) -> str:
    """A figure with its interval, or nothing if the rung does not have it."""
    if name not in figures:
        return ""
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    return f"{figures[name]:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    run(main)
