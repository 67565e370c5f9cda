"""The YAML header by which the Hugging Face Hub reads the model card: licence, base, metrics."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

_SHOWN = re.compile("merged|task_|litertlm_")  # the rungs that a person can download
_HUB_ID = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@.*)?")


def header(preset: str, rows: Sequence[dict]) -> str:
    """The lines between two `---`. rows: ladder.table's."""
    fields: dict[str, Any] = {
        "license": "apache-2.0" if preset == "tiny" else "gemma",
        "library_name": "litert-lm",
        "pipeline_tag": "text-generation",
        "tags": ["gemma3", "lora", "litert-lm", "mediapipe", "on-device", "conversational"],
        "metrics": ["exact_match"],
        "model-index": [{"name": f"{_name(preset)}-lora", "results": [_results(rows)]}],
    }
    base = _HUB_ID.fullmatch(preset)
    if base:
        fields["base_model"] = base[1]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---"


def _name(preset: str) -> str:
    """The last part of a preset, without its revision."""
    return preset.partition("@")[0].rstrip("/").split("/")[-1]


def _results(rows: Sequence[dict]) -> dict[str, Any]:
    figures = [
        {"type": "exact_match", "name": row["rung"], "value": round(row["exact_match"], 4)}
        for row in rows
        if _SHOWN.match(row["rung"]) and row["exact_match"] is not None
    ]
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": "test-split", "name": "Test split of the training data"},
        "metrics": figures,
    }
