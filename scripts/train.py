"""Fine-tunes the base with LoRA.

data/formatted/{train,validation}.jsonl, models/base -> models/lora.npz, metrics/train.json,
metrics/training_log.csv

    python scripts/train.py

Killed, and run again with nothing changed, it goes on from the last state saved in .resume/.
"""

from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.formats.lora_file import base_digest, save_lora
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import pack, supervised_fraction, tokenize
from gemma_finetune.training.distribution import (
    check_same_everywhere,
    is_first_process,
    join_job,
    set_distribution,
)
from gemma_finetune.training.resume import RunFile, run_key
from gemma_finetune.training.trainer import GemmaTrainer
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import made_by, read_jsonl, require, write_json
from gemma_finetune.utils.gpu import keep_freed_memory, prepare_training

BASE = Path("models/base")
FORMATTED = Path("data/formatted")


def load_examples(split: str, tokenizer: GemmaTokenizer, sequence_length: int):
    """The tokenized conversations of a split; an empty validation split is none."""
    path = require(FORMATTED / f"{split}.jsonl", "format")
    rows = list(read_jsonl(path))
    with made_by("format", path):
        return (
            tokenize(rows, tokenizer, sequence_length, str(path))
            if rows or split == "train"
            else []
        )


def main():
    model, lora, config = (
        load_section("model", ModelConfig),
        load_section("lora", LoRAConfig),
        load_section("train", TrainingConfig),
    )
    prepare_training(require(BASE / "model.safetensors", "base").stat().st_size)
    tokenizer = GemmaTokenizer(require(BASE / "tokenizer.model", "base"))
    train, validation = (
        load_examples(split, tokenizer, config.sequence_length) for split in ("train", "validation")
    )
    if config.distribution != "none":
        join_job()
    set_distribution(config.distribution, BASE, config.batch_size)
    inputs = [*sorted(BASE.iterdir()), FORMATTED / "train.jsonl", FORMATTED / "validation.jsonl"]
    key = run_key([model, lora, config], [Path(__file__), *inputs])
    check_same_everywhere(key, "parameters, inputs, code or libraries")
    backbone, unfinished = load_gemma_model(BASE, dtype=model.dtype), RunFile(key)
    keep_freed_memory()
    result = GemmaTrainer(backbone, lora, config).fit(
        pack(train, config.sequence_length),
        pack(validation, config.sequence_length) if validation else None,
        unfinished,
    )
    if not is_first_process():
        return
    save_lora("models/lora.npz", result.weights, lora, base_digest(BASE))
    result.log.write("metrics/training_log.csv")
    metrics = {
        "examples": len(train),
        "supervised_fraction": round(supervised_fraction(train), 4),
    } | result.metrics
    write_json("metrics/train.json", metrics)
    unfinished.remove()
    print(f"{len(train)} conversations, {metrics['steps']} steps -> models/lora.npz")
    print(f"validation loss {metrics.get('base_val_loss')} -> {metrics.get('val_loss')}")


if __name__ == "__main__":
    run(main)
