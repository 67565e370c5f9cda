"""Quantization recipes on one model: what each costs in quality, bytes and speed, from the files
they build.

Every recipe quantizes the float32 model; LiteRT then computes the logits of each scored token of
the test set. They are compared with the float32 model's as metrics/evaluate.json compares them with
the merged model's.

    # The model in models/, all of scripts/recipes/
    python benchmarks/recipes.py
    python benchmarks/recipes.py --recipes my.json --max-examples 50
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from gemma_finetune.evaluation import dataset  # noqa: E402
from gemma_finetune.evaluation.measure import exact_by_logits, measure  # noqa: E402
from gemma_finetune.evaluation.tflite_rung import tflite_logits  # noqa: E402
from gemma_finetune.export.quantizer import quantize  # noqa: E402
from gemma_finetune.figures.bootstrap import interval  # noqa: E402
from gemma_finetune.formats.tokenizer import GemmaTokenizer  # noqa: E402
from gemma_finetune.runtime.tflite_model import TFLiteModel  # noqa: E402
from gemma_finetune.utils.files import read_jsonl  # noqa: E402

DECODED = 100  # tokens that are timed
COLUMNS = ("perplexity", "KL", "top-1", "exact match (95 % interval)", "change", "MB", "decode ms")


def main():
    args = parse_arguments()
    tokenizer = GemmaTokenizer(args.tokenizer)
    rows = dataset.select(list(read_jsonl(args.rows)), args.max_examples)
    test = dataset.build_test_set(rows, tokenizer, window=0)
    print(f"{len(test.conversations)} conversations, {len(test.turns)} answers\n")
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---:" * len(COLUMNS) + "|", flush=True)
    unchanged = compare(args.float32, args.float32, test, tokenizer)
    report("float32", args.float32, unchanged, unchanged, args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for recipe in args.recipes:
            built = Path(folder) / f"{recipe.stem}.tflite"
            quantize(args.float32, built, recipe)
            found = compare(built, args.float32, test, tokenizer)
            report(recipe.stem, built, found, unchanged, args.threads)


def compare(path, float32, test, tokenizer):
    """Figures of a model beside the float32 model's, with exact match (turns,) and its interval."""
    outcome = measure(
        test, tflite_logits(path, test.sequences), tflite_logits(float32, test.sequences)
    )
    exact = np.array(exact_by_logits(test, outcome, tokenizer.stop_ids), float)
    conversations = [turn.conversation for turn in test.turns]
    return outcome.figures | {"exact": exact, "interval": interval(exact, conversations, (0, 1))}


def decode_seconds(path, threads):
    """Of one token: the median of some, from the start of the cache on."""
    model, times = TFLiteModel(path, threads), []
    for token in range(10, 10 + DECODED):
        start = time.perf_counter()
        model.decode(token)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def report(name, path, found, unchanged, threads):
    low, high = found["interval"]
    change = found["exact"].mean() - unchanged["exact"].mean()
    cells = [
        f"{found['perplexity']:.4g}",
        f"{found['kl']:.3g}",
        f"{found['top1_agreement']:.3f}",
        f"{found['exact'].mean():.3f} ({low:.3f} to {high:.3f})",
        f"{change:+.3f}",
        f"{path.stat().st_size / 1e6:.1f}",
        f"{1e3 * decode_seconds(path, threads):.2f}",
    ]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--float32", type=Path, default=ROOT / "models/tflite/float32.tflite")
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "models/merged/tokenizer.model")
    parser.add_argument("--rows", type=Path, default=ROOT / "data/formatted/test.jsonl")
    parser.add_argument(
        "--recipes", type=Path, nargs="+", default=sorted((ROOT / "scripts/recipes").glob("*.json"))
    )
    parser.add_argument("--max-examples", type=int)
    parser.add_argument(
        "--threads", type=int, default=2, help="of decode; logits are as evaluate has them"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
