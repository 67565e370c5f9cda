"""Makes the base model: the tiny one from a seed, or a real Gemma 3 from a hub or a directory.

model.preset -> models/base

    python scripts/base.py
"""

from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.models.config import ModelConfig
from gemma_finetune.models.download import fetch
from gemma_finetune.models.preset import import_preset
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside
from gemma_finetune.utils.gpu import prepare_training

BASE = Path("models/base")


def main():
    config = load_section("model", ModelConfig)
    with aside(BASE) as temporary:
        if config.preset == "tiny":
            from gemma_finetune.models.tiny import build_tiny

            prepare_training(weights=0)
            build_tiny(temporary, config)
        else:
            import_preset(fetch(config.preset), temporary)
    print(f"{config.preset} -> {BASE}")


if __name__ == "__main__":
    run(main)
