"""Bundles a quantized model with tokenizer and chat template: a `.task` and a `.litertlm`, and a
manifest of both.

models/tflite/NAME.tflite + models/merged/ -> models/bundle/NAME.task, NAME.litertlm, NAME.json

    python scripts/bundle.py NAME
"""

import sys
from pathlib import Path

from gemma_finetune import config
from gemma_finetune.export.bundle import (
    Parts,
    create_litertlm,
    create_mediapipe_task,
    expected_contents,
)
from gemma_finetune.export.manifest import manifest, notice
from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE
from gemma_finetune.formats.lora_file import load_lora
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import require, write_json

SECTIONS = ("data", "model", "lora", "train", "export")
# These decide whether and how a bundle is made, and no byte of what it holds.
NOT_IN_IT = ("data.max_rejected_fraction", "train.save_every_steps", "export.quantizations")
DATA = ("train", "validation")


def main():
    name = sys.argv[1]
    params = read_params()
    parts = Parts(
        tflite=require(f"models/tflite/{name}.tflite", "quantize"),
        tokenizer=require("models/merged/tokenizer.model", "merge"),
        chat_template=LITERTLM_TEMPLATE,
        notice=notice(params["model"]["preset"]),
    )
    contents = expected_contents(parts)
    task, litertlm = Path(f"models/bundle/{name}.task"), Path(f"models/bundle/{name}.litertlm")
    create_mediapipe_task(parts, task, contents)
    create_litertlm(parts, litertlm, contents)
    made_of = manifest(
        contents=contents,
        weights=TFLiteFile(parts.tflite).weights(),
        adapter=load_lora("models/lora.npz"),
        data=[require(f"data/formatted/{split}.jsonl", "format") for split in DATA],
        bundles=[task, litertlm],
        params=params,
    )
    write_json(f"models/bundle/{name}.json", made_of)
    for path in (task, litertlm):
        print(
            f"{path}: {path.stat().st_size / 1e6:.1f} MB, cache of {made_of['contents']['context_length']} tokens"
        )


def read_params() -> dict:
    """The parameters that decide what is in the bundle."""
    params = config.read_params()
    return {
        section: {
            key: value
            for key, value in params[section].items()
            if f"{section}.{key}" not in NOT_IN_IT
        }
        for section in SECTIONS
    }


if __name__ == "__main__":
    run(main, arguments=1)
