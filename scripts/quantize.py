"""Quantizes the float32 TFLite model by a recipe, and prints what each weight got.

models/tflite/float32.tflite + scripts/recipes/NAME.json -> models/tflite/NAME.tflite

    python scripts/quantize.py NAME            (a recipe of scripts/recipes/)
    python scripts/quantize.py PATH.json       (a recipe of your own)
"""

import sys
from pathlib import Path

from gemma_finetune.export.quantizer import quantize, table
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.progress import working

FLOAT32 = Path("models/tflite/float32.tflite")


def main() -> None:
    name = sys.argv[1]
    recipe = Path(name if name.endswith(".json") else f"scripts/recipes/{name}.json")
    out = Path(f"models/tflite/{recipe.stem}.tflite")
    with working(f"quantize to {recipe.stem}"):
        weights = quantize(FLOAT32, out, recipe)
    print(table(weights))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main, arguments=1)
