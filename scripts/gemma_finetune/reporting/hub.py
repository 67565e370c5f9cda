"""The YAML header by which the Hugging Face Hub reads the model card: licence, base, metrics."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

_SHOWN = re.compile("merged|task_|litertlm_")  # the rungs that a person can download
_HUB_ID = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@.*)?")


def header(preset: str, rows: Sequence[dict], score: str) -> str:
    """The lines between two `---`. rows: ladder.table's. score: the figure that fits the task."""
    fields: dict[str, Any] = {
        "license": "apache-2.0" if preset == "tiny" else "gemma",
        "library_name": "litert-lm",
        "pipeline_tag": "text-generation",
        "tags": ["gemma3", "lora", "litert-lm", "mediapipe", "on-device", "conversational"],
        "metrics": [score],
        "model-index": [{"name": f"{_name(preset)}-lora", "results": [_results(rows, score)]}],
    }
    base = _HUB_ID.fullmatch(preset)
    if base:
        fields["base_model"] = base[1]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---"


def _name(preset: str) -> str:
    """The last part of a preset, without the revision or version of a hub's."""
    if preset.startswith("hf://"):
        preset = preset.partition("@")[0]
    if preset.startswith("kaggle://"):  # org/model/keras/variant, or that and a version
        preset = "/".join(preset.removeprefix("kaggle://").split("/")[:4])
    return preset.rstrip("/").split("/")[-1]


def _results(rows: Sequence[dict], score: str) -> dict[str, Any]:
    figures = [
        {"type": score, "name": row["rung"], "value": round(row[score], 4)}
        for row in rows
        if _SHOWN.match(row["rung"]) and row.get(score) is not None
    ]
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": "test-split", "name": "Test split of the training data"},
        "metrics": figures,
    }
