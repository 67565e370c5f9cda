"""Converts the merged model to TFLite: float32, a KV cache, a signature for each prefill length.

Before that, its weights are scaled for INT4 (AWQ), by the activations that training rows cause. So
float32.tflite, and the INT8 file made of it, are the scaled model as well: it computes the same as
models/merged, but its weights are different numbers. With export.calibration_tokens 0 nothing is
scaled.

models/merged/, data/formatted/train.jsonl -> models/tflite/float32.tflite

    python scripts/tflite.py
"""

import os
import sys
import time
from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.export.awq.scales import calibration_rows, write_scaled
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.export.converter import Cost, check_conversion, convert_to_tflite
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import made_by, read_jsonl, require, workspace
from gemma_finetune.utils.machine import peak_memory

TRAIN = Path("data/formatted/train.jsonl")
OUT = Path("models/tflite/float32.tflite")


def main() -> None:
    start = time.monotonic()
    config = load_section("export", ExportConfig)
    model = require("models/merged", "merge")
    lengths = config.prefill_lengths, config.cache_length
    check_conversion(model, *lengths, config.calibration_tokens)
    with workspace("models/scaled") as folder:
        if config.calibration_tokens:
            model = scaled(model, folder / "model", config.calibration_tokens)
        convert_to_tflite(model, OUT, *lengths)
    cost = Cost(time.monotonic() - start, peak_memory())
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.1f} MB in {cost}")


def scaled(merged: Path, directory: Path, tokens: int) -> Path:
    """A copy of `merged` in `directory`, scaled by so many tokens of training rows."""
    require(TRAIN, "format")
    with made_by("format", TRAIN):
        texts = [row["text"] for row in read_jsonl(TRAIN)]
    rows = calibration_rows(texts, GemmaTokenizer(merged / "tokenizer.model"), tokens)
    print(f"scaling for {sum(map(len, rows))} tokens of {len(rows)} training rows")
    write_scaled(merged, directory, rows)
    return directory


def fix_hash_seed() -> None:
    """Restarts this script with Python's hash seed at 0, unless it is 0 already.

    transformers' Gemma 3 iterates over a set of layer types, so with a random seed the order of the
    two RoPE tables in the file, and the file's digest, would differ from run to run.
    """
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})


if __name__ == "__main__":
    fix_hash_seed()
    run(main)
