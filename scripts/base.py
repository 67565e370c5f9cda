"""Makes the base model: the tiny one from a seed, or a real Gemma 3 from a hub or a directory.

model.preset -> models/base

    python scripts/base.py
"""

from pathlib import Path

from gemma_finetune.base.download import fetch, revision
from gemma_finetune.base.preset import import_preset
from gemma_finetune.config import load_section
from gemma_finetune.models.config import ModelConfig
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.device import prepare_training
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, write_json
from gemma_finetune.utils.imports import import_tensorflow
from gemma_finetune.utils.machine import keep_freed_memory
from gemma_finetune.utils.progress import working

BASE = Path("models/base")


def main() -> None:
    config = load_section("model", ModelConfig)
    with aside(BASE) as temporary:
        if config.preset == "tiny":
            make_tiny(temporary, config)
        else:
            refuse_unwatched(config)
            with working(f"fetch and copy {config.preset}"):
                import_hub_or_local(config.preset, temporary)
    print(f"{config.preset} -> {BASE}")


def refuse_unwatched(config: ModelConfig) -> None:
    """UserError for a directory that DVC does not watch: it would miss new weights there."""
    preset, watched = Path(config.preset), Path(config.watch)
    if preset.is_dir() and preset.resolve() != watched.resolve():
        raise UserError(
            f"model.preset: DVC does not watch {preset}, so new weights in it would go unnoticed; "
            f"name it twice: -S model.preset={preset} -S model.watch={preset}"
        )


def make_tiny(directory: Path, config: ModelConfig) -> None:
    """Pretrains the tiny base and writes it to `directory`."""
    from gemma_finetune.base.tiny import (
        build_tiny,
    )  # imports Keras, which a download can do without

    prepare_training(weights=0)
    import_tensorflow()
    keep_freed_memory()
    build_tiny(directory, config)


def import_hub_or_local(preset: str, directory: Path) -> None:
    """Writes `preset` to `directory`; for a download also which revision it was (source.json).

    If `preset` states no revision, that is the latest.
    """
    source = fetch(preset)
    import_preset(source, directory)
    found = revision(preset, source)
    if found:
        write_json(directory / "source.json", {"preset": preset, "revision": found})
        print(f"{preset}: revision {found}")


if __name__ == "__main__":
    run(main)
