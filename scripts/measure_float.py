"""Measures the models before quantization on the test split: logits of all, answers of two.

Reads    data/formatted/test.jsonl, models/base/, models/lora.npz, models/merged/,
         models/tflite/float32.tflite, params.yaml (evaluate)
Writes   models/measured/float.json: figures and answers by rung, and the test set
         models/measured/merged.safetensors: the merged model's hidden states, from which the
         stage `measure` computes the logits that a quantization is compared with
Run      python scripts/measure_float.py

Every rung is fed the same token ids. A rung that is not what it says ends the stage; how good a
rung is, the stage `check` judges. Logits come from Keras, transformers and LiteRT, always in
float32. The answers of base and merged model come from transformers, which generates many at once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gemma_finetune.config import load_section
from gemma_finetune.evaluation import identity, keras_rung, tflite_rung, torch_rung
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.evaluation.dataset import Answer, TestSet, prompt_ids
from gemma_finetune.evaluation.measure import (
    Outcome,
    answer_records,
    exact_by_logits,
    foretold_stops,
    set_record,
)
from gemma_finetune.evaluation.plan import Work, announce
from gemma_finetune.evaluation.reference import HiddenStates, compare, load_embeddings
from gemma_finetune.evaluation.stage import (
    ADAPTER,
    BASE,
    HIDDEN,
    MEASURED,
    MERGED,
    TFLITE,
    head_bytes,
    load_test_set,
)
from gemma_finetune.formats.lora_file import load_lora
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.library import keras
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import read_json, require, write_json
from gemma_finetune.utils.machine import return_freed_memory
from gemma_finetune.utils.progress import progress, working
from gemma_finetune.utils.rounding import rounded

FLOAT32 = TFLITE / "float32.tflite"
WEIGHTS = {
    "base": BASE / "model.safetensors",
    "lora": ADAPTER,
    "merged": MERGED / "model.safetensors",
    "transformers": MERGED / "model.safetensors",
    "tflite_float32": FLOAT32,
}


def main() -> None:
    config = load_section("evaluate", EvaluateConfig)
    tokenizer = GemmaTokenizer(require(MERGED / "tokenizer.model", "merge"))
    test = load_test_set(config, tokenizer)
    with working("load transformers, and check the models"):
        check_models(test, tokenizer)
    todo = work(test, config.max_tokens)
    announce(test, tokenizer.vocabulary_size, todo, MEASURED)

    answers = {
        "base": ask("base", BASE, test, tokenizer, config.max_tokens),
        "merged": ask("merged", MERGED, test, tokenizer, config.max_tokens),
    }
    hidden = {name: hidden_states(name, load, test) for name, load in keras_models().items()}
    reference = HiddenStates(hidden["merged"], load_embeddings(MERGED))
    outcomes = {}
    for name, load in logits(test, hidden, reference).items():
        return_freed_memory()  # of the model before: one at a time
        with working(f"{name}: load the model"):
            slices = load()
        outcomes[name] = compare(name, test, slices, reference)

    reference.save(HIDDEN)
    rungs = {}
    for name, outcome in outcomes.items():
        rungs[name] = record(name, test, outcome, answers.get(name), tokenizer)
    content = {"test_set": set_record(test, config.max_tokens), "rungs": rounded(rungs)}
    write_json(MEASURED / "float.json", content)
    print(f"{MEASURED}/float.json: {', '.join(rungs)}")


def check_models(test: TestSet, tokenizer: GemmaTokenizer) -> None:
    """UserError unless every file is whole and is what its name says."""
    torch_rung.check_tokenizers(BASE, MERGED, test.turns, tokenizer)
    identity.check_weights(BASE, "base")
    identity.check_weights(MERGED, "merge")
    load_lora(ADAPTER)  # names a damaged one
    identity.check_whole(FLOAT32, "tflite")
    identity.check_cache(FLOAT32, test.sequences)


def work(test: TestSet, max_tokens: int) -> Work:
    """What main computes, for the plan."""
    size, exported = WEIGHTS["merged"].stat().st_size, FLOAT32.stat().st_size
    width = read_json(MERGED / "config.json")["hidden_size"]
    return Work(
        passes=[size] * 4,
        steps=[exported],
        answers=[torch_rung.COST * size] * 2,
        max_tokens=max_tokens,
        # The libraries, the packed weights of float32.tflite, and a copy of its largest weight
        memory=1e9 + exported + head_bytes(),
        disk=4 * width * sum(len(tokens.positions) for tokens in test.sequences),
    )


def keras_models() -> dict[str, Callable[[], keras.Model]]:
    """The rungs of keras-hub, as {rung: its model}, which is loaded when called."""
    return {
        "merged": lambda: load_gemma_model(MERGED),
        "base": lambda: load_gemma_model(BASE),
        "lora": lambda: keras_rung.base_with_adapter(BASE, ADAPTER),
    }


def hidden_states(
    name: str, load: Callable[[], keras.Model], test: TestSet
) -> Sequence[np.ndarray]:
    """What the output head of a model reads. The model itself is in memory only meanwhile."""
    return_freed_memory()
    with working(f"{name}: load the model"):
        states = keras_rung.hidden_states(load(), test.sequences)
    return list(progress(states, f"{name}: forward pass", len(test.sequences)))


def logits(
    test: TestSet, hidden: dict[str, Sequence[np.ndarray]], reference: HiddenStates
) -> dict[str, Callable[[], Iterable[np.ndarray]]]:
    """The rungs, as {rung: its logits}. A model is loaded when called."""
    sequences = test.sequences
    return {
        "merged": lambda: reference.logits(sequences),
        "base": lambda: reference.beside(hidden["base"], BASE).logits(sequences),
        "lora": lambda: reference.beside(hidden["lora"], BASE).logits(sequences),
        "transformers": lambda: torch_rung.torch_logits(torch_rung.load_torch(MERGED), sequences),
        "tflite_float32": lambda: tflite_rung.tflite_logits(FLOAT32, sequences),
    }


def ask(
    name: str, directory: Any, test: TestSet, tokenizer: GemmaTokenizer, max_tokens: int
) -> list[Answer]:
    """The model's own greedy answers, after the reference conversation before each."""
    turns = [test.turns[number] for number in test.asked_turns]
    prompts = [prompt_ids(turn.messages, tokenizer, turn.tools) for turn in turns]
    room = TFLiteFile(FLOAT32).cache_length()
    limits = [min(max_tokens, room - len(prompt)) for prompt in prompts]
    return_freed_memory()
    with working(f"{name}: load the model, to answer"):
        model = torch_rung.load_torch(directory)
    answers = torch_rung.torch_answers(model, prompts, limits, tokenizer)
    return list(progress(answers, f"{name}: answers", len(prompts)))


def record(
    name: str,
    test: TestSet,
    outcome: Outcome,
    answers: list[Answer] | None,
    tokenizer: GemmaTokenizer,
) -> dict[str, Any]:
    """What models/measured/float.json holds of a rung."""
    found: dict[str, Any] = {
        "figures": outcome.figures | {"bytes": WEIGHTS[name].stat().st_size},
        "exact": exact_by_logits(test, outcome, tokenizer.stop_ids),
        "foretold": foretold_stops(test, outcome, tokenizer.stop_ids),
    }
    if answers is not None:
        found["answers"] = answer_records(answers)
    return found


if __name__ == "__main__":
    run(main)
