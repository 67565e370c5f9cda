"""Measures what each hop of the export chain cost, from the base model to the bundles, on one test set.

Reads    data/formatted/test.jsonl, models/base/, models/lora.npz, models/merged/, models/tflite/*.tflite,
         models/bundle/*.task and *.litertlm
Writes   metrics/evaluate.json (one object a rung), metrics/ladder.csv (the same as a table)
Run      python scripts/evaluate.py

Every rung must be fed the same token ids; a bundle must hold the very model and tokenizer that were exported, and
must answer through LiteRT-LM. A rung that is not what it says ends the stage; how good a rung is, `check` judges.
Logits come from Keras, transformers and LiteRT, always in float32; text comes from LiteRT-LM. `bytes` are those of
the weights: the adapter alone for `lora`, the file itself for a `.tflite` or a bundle.
"""

import csv
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from gemma_finetune.config import load_section
from gemma_finetune.evaluation import bundle_rung, dataset, identity, keras_rung, ladder, tflite_rung, torch_rung
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.evaluation.measure import (
    Spoken,
    TestSet,
    exact_by_logits,
    exact_by_text,
    exact_match,
    keep,
    measure,
    rounded,
    runtime,
)
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.models.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import aside, made_by, read_json, read_jsonl, require, write_json

BASE, ADAPTER, MERGED = Path("models/base"), Path("models/lora.npz"), Path("models/merged")
TFLITE, BUNDLE = Path("models/tflite"), Path("models/bundle")


def main():
    config, quantizations = load_section("evaluate", EvaluateConfig), load_section("export", ExportConfig).quantizations
    tokenizer = GemmaTokenizer(require(MERGED / "tokenizer.model", "merge"))
    test = _test_set(config, tokenizer)
    _check_models(test, tokenizer, quantizations)
    spoken = {name: _listen(name, path, test, tokenizer, config) for name, path in _bundles(quantizations).items()}
    metrics = _score(test, quantizations, spoken, tokenizer)
    write_json("metrics/evaluate.json", rounded(metrics))
    _write_ladder(ladder.table(rounded(metrics), quantizations))
    _print(ladder.table(metrics, quantizations))


def _check_models(test: TestSet, tokenizer: GemmaTokenizer, quantizations) -> None:
    """Every file is whole, and is what its name says; files that no quantization has are named."""
    if left := identity.strays((TFLITE, BUNDLE), ("float32", *quantizations)):
        print(
            f"{', '.join(map(str, left))}: of no quantization in params.yaml, so not measured. Delete: DVC hashes the "
            "whole folder, and a fresh clone has no such file",
            file=sys.stderr,
        )
    identity.check_tokenizers(BASE, MERGED, test.turns, tokenizer)
    identity.check_weights(BASE, "base")
    identity.check_weights(MERGED, "merge")
    identity.check_whole(TFLITE / "float32.tflite", "tflite")
    for name in quantizations:
        identity.check_whole(TFLITE / f"{name}.tflite", f"quantize@{name}")
    identity.check_cache(TFLITE / "float32.tflite", test.sequences)
    identity.check_bundles(TFLITE, BUNDLE, MERGED, quantizations)


def _test_set(config: EvaluateConfig, tokenizer: GemmaTokenizer) -> TestSet:
    rows = list(read_jsonl(require("data/formatted/test.jsonl", "format")))
    if not rows:
        raise UserError("data/formatted/test.jsonl is empty; raise data.test_fraction or mark rows with `split: test`")
    with made_by("format", "data/formatted/test.jsonl"):
        conversations = dataset.build(dataset.select(rows, config.max_examples), tokenizer)
    with made_by("merge", MERGED / "config.json"):
        window = read_json(require(MERGED / "config.json", "merge"))["sliding_window"]
    longest = max(len(c.tokens.ids) for c in conversations)
    return TestSet(conversations, dataset.probe(conversations, max(longest, window + 32)))


def _bundles(quantizations) -> dict[str, Path]:
    return {f"{kind}_{name}": BUNDLE / f"{name}.{kind}" for name in quantizations for kind in ladder.RUNTIMES}


def _listen(name, path, test, tokenizer, config) -> Spoken:
    answers = bundle_rung.answers(path, test.turns, tokenizer, config.max_tokens)
    follow_ups = bundle_rung.follow_ups(path, test.conversations, config.max_tokens)
    return Spoken(list(_progress(name, answers, test.turns)), list(follow_ups))


def _score(test, quantizations, spoken, tokenizer) -> dict[str, dict]:
    """metrics/evaluate.json's content: logits of every rung against the merged model's, one model at a time."""
    rungs = _logits(quantizations)
    reference = keep(_progress("merged", rungs["merged"](test.sequences), test.sequences))
    outcomes = {"merged": measure(test, reference, reference)}
    for name, logits in rungs.items():
        if name not in outcomes:
            outcomes[name] = measure(test, _progress(name, logits(test.sequences), test.sequences), reference)
            gc.collect()
    exact = {name: exact_by_logits(test, outcome, tokenizer.stop_ids) for name, outcome in outcomes.items()}
    figures = {name: outcome.figures for name, outcome in outcomes.items()}
    for name, found in spoken.items():
        twin = f"tflite_{name.partition('_')[2]}"  # the same model file, so the same logits
        figures[name] = figures[twin] | runtime(test, found, outcomes[twin], tokenizer)
        exact[name] = exact_by_text(test, found.answers)
    for name in figures:
        figures[name] |= exact_match(test, exact[name], exact["merged"]) | {"bytes": _bytes(name)}
    for key in [key for key in figures["merged"] if key.startswith("exact_match_change")]:
        del figures["merged"][key]  # against itself there is none
    return figures


def _logits(quantizations) -> dict[str, Callable]:
    """For each rung with logits of its own: sequences -> logits. Models are loaded when called, freed after."""
    return {
        "base": lambda sequences: keras_rung.keras_logits(load_gemma_model(BASE), sequences),
        "lora": lambda sequences: keras_rung.keras_logits(keras_rung.base_with_adapter(BASE, ADAPTER), sequences),
        "merged": lambda sequences: keras_rung.keras_logits(load_gemma_model(MERGED), sequences),
        "transformers": lambda sequences: torch_rung.torch_logits(MERGED, sequences),
    } | {
        f"tflite_{name}": lambda sequences, name=name: tflite_rung.tflite_logits(TFLITE / f"{name}.tflite", sequences)
        for name in ("float32", *quantizations)
    }


def _bytes(rung: str) -> int:
    """Size of the file that holds the rung's weights."""
    files = {"base": BASE / "model.safetensors", "lora": ADAPTER}
    files |= dict.fromkeys(("merged", "transformers"), MERGED / "model.safetensors")
    kind, _, name = rung.partition("_")
    path = files.get(rung) or (TFLITE / f"{name}.tflite" if kind == "tflite" else BUNDLE / f"{name}.{kind}")
    return path.stat().st_size


def _progress(name: str, items: Iterator, total) -> Iterator:
    return tqdm(items, desc=name, total=len(total), leave=False)


def _write_ladder(rows: list[dict]) -> None:
    with aside("metrics/ladder.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["rung", *ladder.COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _print(rows: list[dict]) -> None:
    print(f"{'rung':<16}{'exact match':>24}{'perplexity':>12}{'KL':>10}{'max diff':>10}{'MB':>9}")
    for row in rows:
        interval = f"{row['exact_match']:.3f} ({row['exact_match_low']:.3f} to {row['exact_match_high']:.3f})"
        print(
            f"{row['rung']:<16}{interval:>24}{row['perplexity']:>12.4g}{row['kl']:>10.2g}"
            f"{row['max_logit_diff']:>10.2g}{row['bytes'] / 1e6:>9.2f}"
        )


if __name__ == "__main__":
    run(main)
