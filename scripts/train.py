"""Fine-tunes the base with LoRA.

data/formatted/{train,validation}.jsonl, models/base -> models/lora.npz, metrics/train.json,
metrics/training_log.csv

    python scripts/train.py

A killed run resumes from its last checkpoint in .resume/ when it is started again with the same
settings, inputs and code. No adapter is written if none had a lower validation loss than the base.
"""

import sys
from pathlib import Path
from typing import Any

from gemma_finetune.auto import (
    KEYS,
    fixed_memory,
    read_base,
    tokens_in_memory,
    training_memory,
)
from gemma_finetune.config import load_section
from gemma_finetune.formats.fake_quantization import RECIPE
from gemma_finetune.formats.lora_file import base_digest, save_lora
from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import pack
from gemma_finetune.training.distribution import (
    check_same_everywhere,
    is_first_process,
    join_job,
    refuse_job,
    set_distribution,
)
from gemma_finetune.training.examples import Examples, tokenize
from gemma_finetune.training.resume import RunFile, run_key, run_settings
from gemma_finetune.training.trainer import GemmaTrainer, TrainingResult
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.device import device_name, prepare_training
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import made_by, read_json, require, write_json
from gemma_finetune.utils.machine import available_memory, check_memory, keep_freed_memory
from gemma_finetune.utils.params import check_unchanged
from gemma_finetune.utils.progress import working

BASE = Path("models/base")
TRAIN = Path("data/formatted/train.jsonl")
VALIDATION = Path("data/formatted/validation.jsonl")
LOG = Path("metrics/training_log.csv")
FAR_OVER = 20  # times the free memory: the estimate is rough, and on the safe side


def main() -> None:
    model = load_section("model", ModelConfig)
    lora = load_section("lora", LoRAConfig)
    config = load_section("train", TrainingConfig)
    prepare(model, config)
    unfinished = find_unfinished(model, lora, config)
    try:
        train, result = fit(model, lora, config, unfinished)
    except KeyboardInterrupt:
        if unfinished.path.exists():
            print("the same command goes on from the last checkpoint", file=sys.stderr)
        raise
    if not is_first_process():
        unfinished.remove_tokens()
        return

    try:
        refuse_useless(result.metrics)
    except UserError:
        unfinished.remove()
        raise
    check_unchanged()  # while the last checkpoint is there to go on from
    save_lora("models/lora.npz", result.weights, lora, base_digest(BASE))
    metrics = {
        "settings": chosen_settings(model, config),
        "examples": len(train),
        "supervised_fraction": round(train.supervised_fraction(), 4),
        **result.metrics,
    }
    write_json("metrics/train.json", metrics)
    unfinished.remove()
    print_result(metrics)


def prepare(model: ModelConfig, config: TrainingConfig) -> None:
    """Checks that what training reads is there and fits in memory; sets up the devices."""
    for name in ("model.safetensors", "tokenizer.model"):
        require(BASE / name, "base")
    for path in (TRAIN, VALIDATION):
        require(path, "format")

    # Before JAX starts
    prepare_training((BASE / "model.safetensors").stat().st_size)

    if config.distribution != "none":
        join_job()
    else:
        refuse_job()
    set_distribution(config.distribution, BASE, config.batch_size)
    check_room(model.dtype, config)


def find_unfinished(model: ModelConfig, lora: LoRAConfig, config: TrainingConfig) -> RunFile:
    """Where an unfinished run with these settings, inputs and code keeps what it has done."""
    inputs = [Path(__file__), RECIPE, *sorted(BASE.iterdir()), TRAIN, VALIDATION]
    key = run_key(run_settings(model, lora, config), inputs)
    check_same_everywhere(key, "parameters, inputs, code or libraries")
    unfinished = RunFile(key)
    if is_first_process():
        unfinished.remove_old_ones()
    return unfinished


def fit(
    model: ModelConfig, lora: LoRAConfig, config: TrainingConfig, unfinished: RunFile
) -> tuple[Examples, TrainingResult]:
    """The conversations of the train split, and what training on them gave."""
    train = load_examples(TRAIN, config.sequence_length, unfinished.tokens)
    if not train:
        raise UserError(f"{TRAIN} has no rows to train on; run `dvc repro format`")
    validation = load_examples(VALIDATION, config.sequence_length, unfinished.tokens)
    with working(f"load {BASE} in {model.dtype}"):
        backbone = load_gemma_model(BASE, dtype=model.dtype)
    keep_freed_memory()
    result = GemmaTrainer(backbone, lora, config).fit(
        pack(train, config.sequence_length),
        pack(validation, config.sequence_length) if validation else None,
        unfinished,
        LOG,
    )
    return train, result


def print_result(metrics: dict[str, Any]) -> None:
    """What was trained, and what it gave."""
    print(f"{metrics['examples']} conversations, {metrics['steps']} steps -> models/lora.npz")
    if "val_loss" in metrics:
        print(f"validation loss {metrics['base_val_loss']} -> {metrics['val_loss']}")
    else:
        print(
            "no validation rows: this is the adapter of the last step, and whether it is better "
            "than the base was not measured (data.validation_fraction)"
        )


def check_room(dtype: str, config: TrainingConfig) -> None:
    """Prints what training will take. UserError if not even the model fits in memory, or if the
    batch is far too large.
    """
    base = read_base(read_json(require(BASE / "config.json", "base")))
    if device_name() != "cpu":
        return
    tokens = config.batch_size * config.sequence_length
    check_memory(
        f"{training_memory(base, dtype, tokens) / 1e9:.1f} GB of memory",
        fixed_memory(base, dtype),
        f"training this base in {dtype}, however small the batch,",
        "use a smaller base or a larger machine",
    )
    free = available_memory()
    needed = training_memory(base, dtype, tokens)
    if config.batch_size > 1 and needed > FAR_OVER * free:
        fitting = tokens_in_memory(base, dtype, free / 1e9) / config.sequence_length
        raise UserError(
            f"train.batch_size: {config.batch_size} rows of {config.sequence_length} tokens take "
            f"about {needed / 1e9:,.0f} GB of memory, and {free / 1e9:.1f} GB are free: set it to "
            f"auto, or to {max(int(fitting), 1)} or less; train.gradient_accumulation_steps makes "
            "steps larger in the same memory"
        )


def refuse_useless(metrics: dict[str, Any]) -> None:
    """UserError if the best adapter is no better than the base on the validation rows."""
    if "val_loss" in metrics and metrics["val_loss"] >= metrics["base_val_loss"]:
        raise UserError(
            f"the best adapter is no better than the base: validation loss "
            f"{metrics['base_val_loss']} before training, {metrics['val_loss']} after epoch "
            f"{metrics['best_epoch']}; no adapter was written. Lower train.learning_rate or train "
            f"longer; {LOG} has the loss of each step"
        )


def chosen_settings(model: ModelConfig, config: TrainingConfig) -> dict[str, Any]:
    """The settings of this run that may be `auto` in params.yaml, as they were."""
    settings = {f"model.{key}": getattr(model, key) for key in KEYS["model"]}
    return settings | {f"train.{key}": getattr(config, key) for key in KEYS["train"]}


def load_examples(path: Path, sequence_length: int, tokens: Path) -> Examples:
    """The tokenized conversations of a split; its tokens are kept in the folder `tokens`."""
    with made_by("format", path), working(f"tokenize {path}"):
        return tokenize(path, BASE / "tokenizer.model", sequence_length, tokens / path.stem)


if __name__ == "__main__":
    run(main)
