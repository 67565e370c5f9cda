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
from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import pack
from gemma_finetune.training.distribution import (
    check_same_everywhere,
    is_first_process,
    join_job,
    set_distribution,
)
from gemma_finetune.training.examples import Examples, tokenize
from gemma_finetune.training.resume import RunFile, run_key, run_settings
from gemma_finetune.training.trainer import GemmaTrainer
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import made_by, require, write_json
from gemma_finetune.utils.gpu import keep_freed_memory, prepare_training

BASE = Path("models/base")
TRAIN = Path("data/formatted/train.jsonl")
VALIDATION = Path("data/formatted/validation.jsonl")


def main() -> None:
    model = load_section("model", ModelConfig)
    lora = load_section("lora", LoRAConfig)
    config = load_section("train", TrainingConfig)

    for name in ("model.safetensors", "tokenizer.model"):
        require(BASE / name, "base")
    for path in (TRAIN, VALIDATION):
        require(path, "format")

    # Before JAX starts
    prepare_training((BASE / "model.safetensors").stat().st_size)

    if config.distribution != "none":
        join_job()
    set_distribution(config.distribution, BASE, config.batch_size)

    inputs = [Path(__file__), RECIPE, *sorted(BASE.iterdir()), TRAIN, VALIDATION]
    key = run_key(run_settings(model, lora, config), inputs)
    check_same_everywhere(key, "parameters, inputs, code or libraries")
    unfinished = RunFile(key)
    if is_first_process():
        unfinished.remove_old_ones()

    train = load_examples(TRAIN, config.sequence_length, unfinished.tokens)
    if not train:
        raise UserError(f"{TRAIN} has no rows to train on; run `dvc repro format`")
    validation = load_examples(VALIDATION, config.sequence_length, unfinished.tokens)
    backbone = load_gemma_model(BASE, dtype=model.dtype)
    keep_freed_memory()
    result = GemmaTrainer(backbone, lora, config).fit(
        pack(train, config.sequence_length),
        pack(validation, config.sequence_length) if validation else None,
        unfinished,
    )
    if not is_first_process():
        unfinished.remove_tokens()
        return

    save_lora("models/lora.npz", result.weights, lora, base_digest(BASE))
    result.log.write("metrics/training_log.csv")
    metrics = {
        "examples": len(train),
        "supervised_fraction": round(train.supervised_fraction(), 4),
        **result.metrics,
    }
    write_json("metrics/train.json", metrics)
    unfinished.remove()

    print(f"{len(train)} conversations, {metrics['steps']} steps -> models/lora.npz")
    print(f"validation loss {metrics.get('base_val_loss')} -> {metrics.get('val_loss')}")


def load_examples(path: Path, sequence_length: int, tokens: Path) -> Examples:
    """The tokenized conversations of a split; its tokens are kept in the folder `tokens`."""
    with made_by("format", path):
        return tokenize(path, BASE / "tokenizer.model", sequence_length, tokens / path.stem)


if __name__ == "__main__":
    run(main)
