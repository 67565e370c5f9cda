"""Measures one quantization on the test split: logits of its `.tflite`, answers of its bundles.

Reads    data/formatted/test.jsonl, models/merged/ (tokenizer, output head),
         models/measured/merged.safetensors, models/tflite/NAME.tflite,
         models/bundle/NAME.{task,litertlm,json}, params.yaml (evaluate)
Writes   models/measured/NAME.json: figures and answers by rung, and what the bundles hold
Run      python scripts/measure.py NAME

A bundle must hold the very model and tokenizer that were exported, be fed the token ids of
training, and answer through LiteRT-LM; else the stage ends.
"""

import sys
from pathlib import Path
from typing import Any

from gemma_finetune.config import BUNDLE_KINDS, load_section
from gemma_finetune.evaluation import bundle_rung, identity, tflite_rung
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.evaluation.dataset import TestSet
from gemma_finetune.evaluation.measure import (
    Outcome,
    agreements,
    answer_records,
    exact_by_logits,
    follow_up_records,
    foretold_stops,
)
from gemma_finetune.evaluation.plan import Work, announce
from gemma_finetune.evaluation.reference import compare, load_reference
from gemma_finetune.evaluation.stage import (
    BUNDLE,
    HIDDEN,
    MEASURED,
    MERGED,
    TFLITE,
    load_test_set,
)
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import read_json, require, sha256, write_json
from gemma_finetune.utils.machine import return_freed_memory
from gemma_finetune.utils.progress import progress
from gemma_finetune.utils.rounding import rounded


def main() -> None:
    name = sys.argv[1]
    config = load_section("evaluate", EvaluateConfig)
    tokenizer = GemmaTokenizer(require(MERGED / "tokenizer.model", "merge"))
    test = load_test_set(config, tokenizer)
    check_models(name, test)
    todo = work(name, config.max_tokens)
    announce(test, tokenizer.vocabulary_size, todo, MEASURED)

    model = TFLITE / f"{name}.tflite"
    reference = load_reference(require(HIDDEN, "measure_float"), MERGED, test.sequences)
    logits = tflite_rung.tflite_logits(model, test.sequences)
    outcome = compare(f"tflite_{name}", test, logits, reference)
    del reference, logits
    return_freed_memory()
    rungs = {
        f"tflite_{name}": {
            "figures": outcome.figures | {"bytes": model.stat().st_size},
            "exact": exact_by_logits(test, outcome, tokenizer.stop_ids),
            "foretold": foretold_stops(test, outcome, tokenizer.stop_ids),
        }
    }
    for kind in BUNDLE_KINDS:
        path = BUNDLE / f"{name}.{kind}"
        rungs[f"{kind}_{name}"] = ask(path, test, outcome, tokenizer, config.max_tokens)

    manifest = read_json(require(BUNDLE / f"{name}.json", f"bundle@{name}"))
    made_of = {key: manifest[key] for key in ("adapter", "bundles")}
    write_json(MEASURED / f"{name}.json", {"rungs": rounded(rungs), "made_of": made_of})
    print(f"{MEASURED}/{name}.json: {', '.join(rungs)}")


def check_models(name: str, test: TestSet) -> None:
    """UserError unless every file is whole and is what its name says."""
    identity.check_weights(MERGED, "merge")
    identity.check_whole(TFLITE / f"{name}.tflite", f"quantize@{name}")
    identity.check_cache(TFLITE / f"{name}.tflite", test.sequences)
    identity.check_bundles(TFLITE, BUNDLE, MERGED, [name])


def work(name: str, max_tokens: int) -> Work:
    """What main computes, for the plan."""
    size = (TFLITE / f"{name}.tflite").stat().st_size
    return Work(
        passes=[],
        steps=[size],
        answers=[size] * 2,
        max_tokens=max_tokens,
        memory=0.35e9 + 3 * size,  # the libraries, and the model with its packed weights
        disk=1e7,
    )


def ask(
    path: Path, test: TestSet, outcome: Outcome, tokenizer: GemmaTokenizer, max_tokens: int
) -> dict[str, Any]:
    """What LiteRT-LM answers to each asked turn, and in chats that it holds itself."""
    turns = [test.turns[number] for number in test.asked_turns]
    answers = bundle_rung.answers(path, turns, tokenizer, max_tokens)
    answered = list(progress(answers, f"{path.name}: answers", len(turns)))
    chats = [conversation for conversation in test.asked if len(conversation.turns) > 1]
    follow_ups = bundle_rung.follow_ups(path, chats, max_tokens)
    followed = list(progress(follow_ups, f"{path.name}: second answers", len(chats)))
    return {
        "figures": {"bytes": path.stat().st_size},
        "sha256": sha256(path),
        "answers": answer_records(answered),
        "agrees": agreements(test, answered, outcome, tokenizer),
        "follow_ups": follow_up_records(test, answered, followed),
    }


if __name__ == "__main__":
    run(main, arguments=1)
