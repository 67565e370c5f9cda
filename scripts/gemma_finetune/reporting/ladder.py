"""The rungs of the ladder, in the order in which a fault travels from training to a device."""

import csv
from collections.abc import Sequence
from pathlib import Path

from gemma_finetune.config import BUNDLE_KINDS

FIXED = ("base", "lora", "merged", "transformers", "tflite_float32")
COLUMNS = (
    "loss", "perplexity", "exact_match", "exact_match_low", "exact_match_high",
    "exact_match_change", "exact_match_change_low", "exact_match_change_high", "top1_agreement",
    "kl", "max_logit_diff", "runtime_agreement", "follow_up_agreement", "faulty_answers", "cut_off",
    "bytes",
)  # fmt: skip


def rungs(quantizations: Sequence[str]) -> list[str]:
    """The fixed rungs, then tflite_NAME, task_NAME and litertlm_NAME of each quantization."""
    names = list(FIXED)
    for quantization in quantizations:
        names += [f"{kind}_{quantization}" for kind in ("tflite", *BUNDLE_KINDS)]
    return names


def hops(quantizations: Sequence[str]) -> list[str]:
    """The steps between the rungs, in the same order, named like their stages in dvc.yaml."""
    names = ["train", "merge", "transformers", "tflite"]
    for quantization in quantizations:
        names += [f"quantize@{quantization}", f"bundle@{quantization}"]
    return names


def table(metrics: dict[str, dict], quantizations: Sequence[str]) -> list[dict]:
    """metrics/evaluate.json as rows in ladder order, one column a figure.

    After COLUMNS come the figures of answers that fit the task. A figure that a rung cannot give is
    None.
    """
    present = [rung for rung in rungs(quantizations) if rung in metrics]
    columns = [*COLUMNS, *_more_figures([metrics[rung] for rung in present])]
    rows = []
    for rung in present:
        figures = {column: metrics[rung].get(column) for column in columns}
        rows.append({"rung": rung, **figures})
    return rows


def _more_figures(found: Sequence[dict]) -> list[str]:
    """The names of numbers that are not in COLUMNS."""
    names = set()
    for figures in found:
        names |= {name for name, value in figures.items() if isinstance(value, float | int)}
    return sorted(names - set(COLUMNS))


def write_table(rows: Sequence[dict], path: Path) -> None:
    """Writes the rows of `table` as CSV, which `dvc plots` reads."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
