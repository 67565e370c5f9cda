"""The rungs of the ladder, in the order in which a fault travels from the trained adapter to what a
device runs.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from gemma_finetune.config import BUNDLE_KINDS

FIXED = ("base", "lora", "merged", "transformers", "tflite_float32")
COLUMNS = (
    "loss", "perplexity", "exact_match", "exact_match_low", "exact_match_high", "exact_match_change",
    "exact_match_change_low", "exact_match_change_high", "top1_agreement", "kl", "max_logit_diff",
    "runtime_agreement", "follow_up_agreement", "faulty_answers", "bytes",
)  # fmt: skip


def rungs(quantizations: Sequence[str]) -> list[str]:
    """base, lora, merged, transformers, tflite_float32, then tflite_NAME, task_NAME and
    litertlm_NAME of each.
    """
    return [
        *FIXED,
        *(f"{kind}_{name}" for name in quantizations for kind in ("tflite", *BUNDLE_KINDS)),
    ]


def hops(quantizations: Sequence[str]) -> list[str]:
    """The steps between the rungs, in the same order; named as the stages in dvc.yaml that take
    them.
    """
    stages = [f"{stage}@{name}" for name in quantizations for stage in ("quantize", "bundle")]
    return ["train", "merge", "transformers", "tflite", *stages]


def table(metrics: dict[str, dict], quantizations: Sequence[str]) -> list[dict]:
    """metrics/evaluate.json as rows in ladder order, one column a figure; what a rung can't give is
    None.
    """
    return [
        {"rung": rung, **{column: metrics[rung].get(column) for column in COLUMNS}}
        for rung in rungs(quantizations)
        if rung in metrics
    ]


def write_table(rows: Sequence[dict], path: Path) -> None:
    """`table`'s rows as CSV, which `dvc plots` reads."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["rung", *COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
