"""Fine-tunes the base with LoRA.

data/formatted/{train,validation}.jsonl, models/base -> models/lora.npz, metrics/train.json,
metrics/training_log.csv

    python scripts/train.py

A killed run resumes from its last checkpoint in .resume/ when it is started again with the same
settings, inputs and code.
"""

from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.formats.fake_quantization import RECIPE
from gemma_finetune.formats.lora_file import base_digest, save_lora
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import Example, pack, supervised_fraction, tokenize
from gemma_finetune.training.distribution import (
    check_same_everywhere,
    is_first_process,
    join_job,
    set_distribution,
)
from gemma_finetune.training.resume import RunFile, run_key, run_settings
from gemma_finetune.training.trainer import GemmaTrainer
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import made_by, read_jsonl, require, write_json
from gemma_finetune.utils.gpu import keep_freed_memory, prepare_training

BASE = Path("models/base")
TRAIN = Path("data/formatted/train.jsonl")
VALIDATION = Path("data/formatted/validation.jsonl")


def main() -> None:
    model = load_section("model", ModelConfig)
    lora = load_section("lora", LoRAConfig)
    config = load_section("train", TrainingConfig)

    # Before JAX starts
    prepare_training(require(BASE / "model.safetensors", "base").stat().st_size)

    tokenizer = GemmaTokenizer(require(BASE / "tokenizer.model", "base"))
    train = load_examples(TRAIN, tokenizer, config.sequence_length)
    validation = load_examples(VALIDATION, tokenizer, config.sequence_length, may_be_empty=True)

    if config.distribution != "none":
        join_job()
    set_distribution(config.distribution, BASE, config.batch_size)

    inputs = [Path(__file__), RECIPE, *sorted(BASE.iterdir()), TRAIN, VALIDATION]
    key = run_key(run_settings(model, lora, config), inputs)
    check_same_everywhere(key, "parameters, inputs, code or libraries")
    unfinished = RunFile(key)
    if is_first_process():
        unfinished.remove_old_ones()

    backbone = load_gemma_model(BASE, dtype=model.dtype)
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
        **result.metrics,
    }
    write_json("metrics/train.json", metrics)
    unfinished.remove()

    print(f"{len(train)} conversations, {metrics['steps']} steps -> models/lora.npz")
    print(f"validation loss {metrics.get('base_val_loss')} -> {metrics.get('val_loss')}")


def load_examples(
    path: Path, tokenizer: GemmaTokenizer, sequence_length: int, may_be_empty: bool = False
) -> list[Example]:
    """The tokenized conversations of a split."""
    rows = list(read_jsonl(require(path, "format")))
    if may_be_empty and not rows:
        return []
    with made_by("format", path):
        return tokenize(rows, tokenizer, sequence_length, str(path))


if __name__ == "__main__":
    run(main)
