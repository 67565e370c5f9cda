"""Converts the merged model to TFLite in float32, with a KV cache and one signature per prefill
length.

Before that its weights are scaled for what training rows make of its activations, so that INT4
loses less (AWQ); the float32 model computes the same with it and without.

models/merged/, data/formatted/train.jsonl -> models/tflite/float32.tflite

    python scripts/tflite.py
"""

import os
import sys
from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.export.awq import calibration_rows, write_scaled
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.export.converter import convert_to_tflite
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import made_by, read_jsonl, require, workspace

OUT = Path("models/tflite/float32.tflite")


def main():
    config = load_section("export", ExportConfig)
    model = require("models/merged", "merge")
    with workspace("models/scaled") as folder:
        if config.calibration_tokens:
            model = scaled(model, folder / "model", config.calibration_tokens)
        cost = convert_to_tflite(model, OUT, config.prefill_lengths, config.cache_length)
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.1f} MB in {cost}")


def scaled(merged: Path, directory: Path, tokens: int) -> Path:
    """`merged`, scaled on training rows, in `directory`."""
    with made_by("format", "data/formatted/train.jsonl"):
        texts = [row["text"] for row in read_jsonl(require("data/formatted/train.jsonl", "format"))]
    rows = calibration_rows(texts, GemmaTokenizer(merged / "tokenizer.model"), tokens)
    print(f"scaling for {sum(map(len, rows))} tokens of {len(rows)} training rows")
    write_scaled(merged, directory, rows)
    return directory


def fix_hash_seed():
    """Starts this script anew with Python's hash seed at 0, unless it is.

    transformers' Gemma 3 goes through a set of layer types, so the order of the two RoPE tables in
    the file, and with it the file's digest, would differ from run to run.
    """
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})


if __name__ == "__main__":
    fix_hash_seed()
    run(main)
