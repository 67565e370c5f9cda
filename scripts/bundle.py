"""Bundles a quantized model with tokenizer and chat template: `.task`, `.litertlm`, a manifest.

models/tflite/NAME.tflite + models/merged/ -> models/bundle/NAME.task, NAME.litertlm, NAME.json

    python scripts/bundle.py NAME
"""

import sys
from pathlib import Path
from typing import Any

from gemma_finetune import config
from gemma_finetune.export.bundle import (
    Parts,
    create_litertlm,
    create_mediapipe_task,
    expected_contents,
)
from gemma_finetune.export.manifest import manifest, notice
from gemma_finetune.formats.chat_template import litertlm_template
from gemma_finetune.formats.lora_file import load_lora
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import require, write_json
from gemma_finetune.utils.progress import working

SECTIONS = ("data", "model", "lora", "train", "export")
# Parameters of these sections that change nothing in a bundle, only whether or how it is made.
NOT_IN_IT = (
    "data.max_lost_fraction",
    "model.watch",
    "train.memory_gb",
    "train.save_every_minutes",
    "train.save_every_steps",
    "export.quantizations",
)
SPLITS = ("train", "validation")


def main() -> None:
    name = sys.argv[1]
    params = read_params()
    tokenizer = require("models/merged/tokenizer.model", "merge")
    parts = Parts(
        tflite=require(f"models/tflite/{name}.tflite", "quantize"),
        tokenizer=tokenizer,
        chat_template=litertlm_template(GemmaTokenizer(tokenizer).has_functions),
        notice=notice(params["model"]["preset"]),
    )
    contents = expected_contents(parts)
    task, litertlm = Path(f"models/bundle/{name}.task"), Path(f"models/bundle/{name}.litertlm")
    with working(f"write {task} and {litertlm.name}"):
        create_mediapipe_task(parts, task, contents)
        create_litertlm(parts, litertlm, contents)

    made_of = manifest(
        contents=contents,
        weights=TFLiteFile(parts.tflite).weights(),
        adapter=load_lora("models/lora.npz"),
        data=[require(f"data/formatted/{split}.jsonl", "format") for split in SPLITS],
        bundles=[task, litertlm],
        params=params,
    )
    write_json(f"models/bundle/{name}.json", made_of)
    for path in (task, litertlm):
        size = path.stat().st_size / 1e6
        print(f"{path}: {size:.1f} MB, cache of {contents.context_length} tokens")


def read_params() -> dict[str, dict[str, Any]]:
    """The parameters that decide what is in the bundle, by section."""
    found: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        found[section] = {}
        for key, value in config.resolved_section(section).items():
            if f"{section}.{key}" not in NOT_IN_IT:
                found[section][key] = value
    return found


if __name__ == "__main__":
    run(main, arguments=1)
