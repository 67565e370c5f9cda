"""What the export stages make of the shared model. Read only."""

from pathlib import Path

import pytest

from gemma_finetune.export.bundle import Parts, create_litertlm, create_mediapipe_task
from gemma_finetune.export.quantizer import quantize
from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE

RECIPES = Path(__file__).parents[2] / "scripts" / "recipes"


@pytest.fixture(scope="session")
def quantized(tmp_path_factory, float32) -> dict[str, Path]:
    """{recipe: its .tflite} of every recipe of the repository."""
    folder = tmp_path_factory.mktemp("quantized")
    paths = {
        recipe.stem: folder / f"{recipe.stem}.tflite" for recipe in sorted(RECIPES.glob("*.json"))
    }
    for name, path in paths.items():
        quantize(float32, path, RECIPES / f"{name}.json")
    return paths


@pytest.fixture(scope="session")
def parts(quantized, talkative) -> Parts:
    return Parts(
        tflite=quantized["int8"],
        tokenizer=talkative / "tokenizer.model",
        chat_template=LITERTLM_TEMPLATE,
    )


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, parts) -> dict[str, Path]:
    """{"task", "litertlm"} of the INT8 model."""
    folder = tmp_path_factory.mktemp("bundle")
    create_mediapipe_task(parts, folder / "int8.task")
    create_litertlm(parts, folder / "int8.litertlm")
    return {"task": folder / "int8.task", "litertlm": folder / "int8.litertlm"}
