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
from gemma_finetune.evaluation.measure import (  # noqa: E402
    TestSet,
    exact_by_logits,
    exact_match,
    keep,
    measure,
)
from gemma_finetune.evaluation.tflite_rung import tflite_logits  # noqa: E402
from gemma_finetune.export.quantizer import quantize  # noqa: E402
from gemma_finetune.formats.tokenizer import GemmaTokenizer  # noqa: E402
from gemma_finetune.runtime.tflite_model import TFLiteModel  # noqa: E402
from gemma_finetune.utils.files import read_jsonl  # noqa: E402

DECODED = 100  # tokens that are timed
COLUMNS = ("perplexity", "KL", "top-1", "exact match (95 % interval)", "change", "MB", "decode ms")


def main():
    args = parse_arguments()
    tokenizer = GemmaTokenizer(args.tokenizer)
    rows = dataset.select(list(read_jsonl(args.rows)), args.max_examples)
    conversations = dataset.build(rows, tokenizer)
    test = TestSet(
        conversations, dataset.probe(conversations, max(len(c.tokens.ids) for c in conversations))
    )
    print(f"{len(conversations)} conversations, {len(test.turns)} answers\n")
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---:" * len(COLUMNS) + "|", flush=True)
    reference = keep(tflite_logits(args.float32, test.sequences))
    outcome = measure(test, reference, reference)
    exact = exact_by_logits(test, outcome, tokenizer.stop_ids)
    report("float32", args.float32, outcome.figures | exact_match(test, exact, exact), args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for recipe in args.recipes:
            built = Path(folder) / f"{recipe.stem}.tflite"
            quantize(args.float32, built, recipe)
            outcome = measure(test, tflite_logits(built, test.sequences), reference)
            found = exact_match(test, exact_by_logits(test, outcome, tokenizer.stop_ids), exact)
            report(recipe.stem, built, outcome.figures | found, args.threads)


def decode_seconds(path, threads):
    """Of one token: the median of some, from the start of the cache on."""
    model, times = TFLiteModel(path, threads), []
    for token in range(10, 10 + DECODED):
        start = time.perf_counter()
        model.decode(token)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def report(name, path, figures, threads):
    interval = "{exact_match:.3f} ({exact_match_low:.3f} to {exact_match_high:.3f})".format(
        **figures
    )
    cells = [
        f"{figures['perplexity']:.4g}",
        f"{figures['kl']:.3g}",
        f"{figures['top1_agreement']:.3f}",
        interval,
    ]
    cells += [f"{figures['exact_match_change']:+.3f}", f"{path.stat().st_size / 1e6:.1f}"]
    print(
        f"| {name} | " + " | ".join([*cells, f"{1e3 * decode_seconds(path, threads):.2f}"]) + " |",
        flush=True,
    )


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
