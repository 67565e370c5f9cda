"""Measures what each hop of the export chain cost, from the base model to the bundles.

Reads    data/formatted/test.jsonl, models/base/, models/lora.npz, models/merged/,
         models/tflite/*.tflite, models/bundle/*.task and *.litertlm,
         params.yaml (evaluate, export.quantizations)
Writes   metrics/evaluate.json (one object a rung)
Run      python scripts/evaluate.py

Every rung is measured on the same test set and must be fed the same token ids. A bundle must hold
the very model and tokenizer that were exported, and must answer through LiteRT-LM. A rung that is
not what it says ends the stage; how good a rung is, the stage `check` judges.

Logits come from Keras, transformers and LiteRT, always in float32; text comes from LiteRT-LM.
`bytes` is the size of the weights: the adapter alone for `lora`, the file itself for a `.tflite` or
a bundle.
"""

import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gemma_finetune.config import BUNDLE_KINDS, load_quantizations, load_section
from gemma_finetune.evaluation import (
    bundle_rung,
    dataset,
    identity,
    keras_rung,
    tflite_rung,
    torch_rung,
)
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.evaluation.measure import (
    RuntimeAnswers,
    TestSet,
    call_shares,
    exact_by_logits,
    exact_by_text,
    exact_match,
    keep,
    measure,
    rounded,
    runtime,
)
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import made_by, read_json, read_jsonl, require, sha256, write_json

BASE, ADAPTER, MERGED = Path("models/base"), Path("models/lora.npz"), Path("models/merged")
TFLITE, BUNDLE = Path("models/tflite"), Path("models/bundle")

Logits = Callable[[Sequence[dataset.Tokens]], Iterator[np.ndarray]]  # a (P, V) array a sequence


def main() -> None:
    config, quantizations = load_section("evaluate", EvaluateConfig), load_quantizations()
    tokenizer = GemmaTokenizer(require(MERGED / "tokenizer.model", "merge"))
    test = load_test_set(config, tokenizer)
    check_models(test, tokenizer, quantizations)

    # First the answers of each bundle, then the logits of each model: one in memory at a time.
    answered = {}
    for name, path in bundles(quantizations).items():
        answered[name] = ask(name, path, test, tokenizer, config.max_tokens)
    rungs = score(test, quantizations, answered, tokenizer)

    write_json("metrics/evaluate.json", rounded(rungs))
    show(rungs)


def load_test_set(config: EvaluateConfig, tokenizer: GemmaTokenizer) -> TestSet:
    """The conversations to measure on, and a probe that is longer than the sliding window."""
    rows = list(read_jsonl(require("data/formatted/test.jsonl", "format")))
    if not rows:
        raise UserError(
            "data/formatted/test.jsonl is empty; raise data.test_fraction or mark rows with "
            "`split: test`"
        )
    with made_by("format", "data/formatted/test.jsonl"):
        selected = dataset.select(rows, config.max_examples)
        conversations = dataset.build(selected, tokenizer)
    with made_by("merge", MERGED / "config.json"):
        window = read_json(require(MERGED / "config.json", "merge"))["sliding_window"]
    longest = max(len(conversation.tokens.ids) for conversation in conversations)
    return TestSet(conversations, dataset.probe(conversations, max(longest, window + 32)))


def check_models(test: TestSet, tokenizer: GemmaTokenizer, quantizations: Sequence[str]) -> None:
    """UserError unless every file is whole and is what its name says."""
    if left := identity.strays((TFLITE, BUNDLE), ("float32", *quantizations)):
        print(
            f"{', '.join(map(str, left))}: not of a quantization in params.yaml, so not measured. "
            "Delete them: DVC hashes the whole folder, and a fresh clone does not have them",
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


def bundles(quantizations: Sequence[str]) -> dict[str, Path]:
    """The bundles as {rung: file}."""
    files = {}
    for name in quantizations:
        for kind in BUNDLE_KINDS:
            files[f"{kind}_{name}"] = BUNDLE / f"{name}.{kind}"
    return files


def ask(
    name: str, path: Path, test: TestSet, tokenizer: GemmaTokenizer, max_tokens: int
) -> RuntimeAnswers:
    """What LiteRT-LM answers to each turn of the test set, and in chats that it holds itself."""
    answers = bundle_rung.answers(path, test.turns, tokenizer, max_tokens)
    follow_ups = bundle_rung.follow_ups(path, test.conversations, max_tokens)
    return RuntimeAnswers(list(progress(name, answers, len(test.turns))), list(follow_ups))


def score(
    test: TestSet,
    quantizations: Sequence[str],
    answered: dict[str, RuntimeAnswers],
    tokenizer: GemmaTokenizer,
) -> dict[str, dict]:
    """metrics/evaluate.json's content: every model's logits compared with the merged model's."""
    models, count = model_logits(quantizations), len(test.sequences)
    reference = keep(progress("merged", models["merged"](test.sequences), count))
    outcomes = {"merged": measure(test, reference, reference)}
    for name, logits in models.items():
        if name != "merged":
            outcomes[name] = measure(test, progress(name, logits(test.sequences), count), reference)
            gc.collect()

    rungs: dict[str, dict] = {}
    exact = {}
    for name in models:
        rungs[name] = outcomes[name].figures
        exact[name] = exact_by_logits(test, outcomes[name], tokenizer.stop_ids)
    for name, found in answered.items():
        twin = f"tflite_{name.partition('_')[2]}"  # the same model file, so the same logits
        rungs[name] = rungs[twin] | runtime(test, found, outcomes[twin], tokenizer)
        rungs[name] |= call_shares(test, found.answers)
        rungs[name]["sha256"] = sha256(weights_file(name))
        exact[name] = exact_by_text(test, found.answers)

    for name, figures in rungs.items():
        figures |= exact_match(test, exact[name], exact["merged"])
        figures["bytes"] = weights_file(name).stat().st_size
    for end in ("", "_low", "_high"):
        del rungs["merged"][f"exact_match_change{end}"]  # it would be compared with itself
    return rungs


def model_logits(quantizations: Sequence[str]) -> dict[str, Logits]:
    """The rungs with logits of their own, as {rung: function}. A model is loaded when called."""
    models: dict[str, Logits] = {
        "base": lambda sequences: keras_rung.keras_logits(load_gemma_model(BASE), sequences),
        "lora": lambda sequences: keras_rung.keras_logits(
            keras_rung.base_with_adapter(BASE, ADAPTER), sequences
        ),
        "merged": lambda sequences: keras_rung.keras_logits(load_gemma_model(MERGED), sequences),
        "transformers": partial(torch_rung.torch_logits, MERGED),
    }
    for name in ("float32", *quantizations):
        models[f"tflite_{name}"] = partial(tflite_rung.tflite_logits, TFLITE / f"{name}.tflite")
    return models


def weights_file(rung: str) -> Path:
    """The file that holds the rung's weights."""
    files = {
        "base": BASE / "model.safetensors",
        "lora": ADAPTER,
        "merged": MERGED / "model.safetensors",
        "transformers": MERGED / "model.safetensors",
    }
    if rung in files:
        return files[rung]
    kind, _, name = rung.partition("_")
    return TFLITE / f"{name}.tflite" if kind == "tflite" else BUNDLE / f"{name}.{kind}"


def progress(name: str, items: Iterable, total: int) -> Iterator:
    return tqdm(items, desc=name, total=total, leave=False)


def show(rungs: dict[str, dict]) -> None:
    """Prints the ladder."""
    print(f"{'rung':<16}{'exact match':>24}{'perplexity':>12}{'KL':>10}{'max diff':>10}{'MB':>9}")
    for name, figures in rungs.items():
        low, high = figures["exact_match_low"], figures["exact_match_high"]
        interval = f"{figures['exact_match']:.3f} ({low:.3f} to {high:.3f})"
        print(
            f"{name:<16}{interval:>24}{figures['perplexity']:>12.4g}{figures['kl']:>10.2g}"
            f"{figures['max_logit_diff']:>10.2g}{figures['bytes'] / 1e6:>9.2f}"
        )


if __name__ == "__main__":
    run(main)
