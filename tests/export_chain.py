"""Runs the export on a base and an adapter, and prints {what: SHA-256} as JSON.

    python tests/export_chain.py BASE LORA FOLDER [--convert]

Without --convert it stops at the weights for the converter: all of that is numpy's work.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gemma_finetune.export.awq.scales import write_scaled
from gemma_finetune.export.merge import (
    fake_quantized_model,
    merge_lora_weights,
    read_tensors,
)
from gemma_finetune.formats.lora_file import load_lora
from gemma_finetune.utils.files import sha256

RECIPES = Path(__file__).parents[1] / "scripts" / "recipes"
ROWS = [[2, *row] for row in np.random.default_rng(0).integers(4, 300, (8, 40)).tolist()]


def main(base: Path, lora: Path, folder: Path, convert: bool) -> None:
    tensors = merge_lora_weights(read_tensors(base), load_lora(lora))
    merged = shutil.copytree(base, folder / "merged")
    save_file(tensors, merged / "model.safetensors", metadata={"format": "pt"})
    save_file(fake_quantized_model(tensors), folder / "aware.safetensors")
    write_scaled(merged, folder / "scaled", ROWS)
    made = {
        "merged": merged / "model.safetensors",
        "merged, quantization-aware": folder / "aware.safetensors",
        "scaled": folder / "scaled" / "model.safetensors",
    }
    if convert:
        made |= convert_and_bundle(folder)
    print(json.dumps({name: sha256(path) for name, path in made.items()}))


def convert_and_bundle(folder: Path) -> dict[str, Path]:
    """Files by name."""
    from gemma_finetune.export.bundle import Parts, create_litertlm, create_mediapipe_task
    from gemma_finetune.export.converter import convert_to_tflite
    from gemma_finetune.export.quantizer import quantize
    from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE

    float32 = folder / "float32.tflite"
    convert_to_tflite(folder / "scaled", float32, (8,), 64)
    made = {"float32.tflite": float32}
    for name in ("int8", "int4"):
        tflite = made[f"{name}.tflite"] = folder / f"{name}.tflite"
        quantize(float32, tflite, RECIPES / f"{name}.json")
        tokenizer = folder / "merged" / "tokenizer.model"
        parts = Parts(tflite=tflite, tokenizer=tokenizer, chat_template=LITERTLM_TEMPLATE)
        task = made[f"{name}.task"] = folder / f"{name}.task"
        create_mediapipe_task(parts, task)
        litertlm = made[f"{name}.litertlm"] = folder / f"{name}.litertlm"
        create_litertlm(parts, litertlm)
    return made


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), convert="--convert" in sys.argv)
