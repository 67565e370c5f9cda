"""The shared model in each of its four forms, and a backend of each. Read only."""

import shutil
from pathlib import Path

import pytest

import function_model
from exported import CACHE_LENGTH
from gemma_finetune.export.bundle import Parts, create_litertlm, create_mediapipe_task
from gemma_finetune.export.converter import convert_to_tflite
from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE, litertlm_template
from gemma_finetune.inference.backend import open_backend
from gemma_finetune.inference.config import GenerateConfig

CONFIG = GenerateConfig(
    max_tokens=24,
    temperature=0.0,
    top_k=None,
    top_p=1.0,
    repetition_penalty=1.0,
    seed=0,
    threads=1,
    dtype="float32",
    context_length=CACHE_LENGTH,
)


@pytest.fixture(scope="session")
def models(tmp_path_factory, talkative, float32) -> dict[str, Path]:
    """The same model as "keras", "tflite" (with its tokenizer beside it), "task", "litertlm"."""
    folder = tmp_path_factory.mktemp("models")
    model, tokenizer = folder / "float32.tflite", folder / "tokenizer.model"
    shutil.copyfile(float32, model)
    shutil.copyfile(talkative / "tokenizer.model", tokenizer)
    parts = Parts(tflite=model, tokenizer=tokenizer, chat_template=LITERTLM_TEMPLATE)
    create_mediapipe_task(parts, folder / "float32.task")
    create_litertlm(parts, folder / "float32.litertlm")
    files = {kind: folder / f"float32.{kind}" for kind in ("tflite", "task", "litertlm")}
    return {"keras": talkative, **files}


@pytest.fixture(scope="session")
def backends(models) -> dict:
    """An opened backend of each kind, shared: what a test leaves in its cache must not matter."""
    opened = {kind: open_backend(None, str(path), CONFIG) for kind, path in models.items()}
    yield opened
    for backend in opened.values():
        backend.close()


@pytest.fixture(scope="session")
def function_models(tmp_path_factory, function_tokenizer_path) -> dict[str, Path]:
    """A model that knows function_model.CONVERSATIONS by heart: "keras", "tflite", ..."""
    folder, merged = tmp_path_factory.mktemp("functions"), tmp_path_factory.mktemp("functions_hf")
    assert function_model.write_model(merged, function_tokenizer_path) < 0.1
    model, tokenizer = folder / "float32.tflite", folder / "tokenizer.model"
    shutil.copyfile(function_tokenizer_path, tokenizer)
    lengths, cache = function_model.PREFILL_LENGTHS, function_model.CACHE_LENGTH
    convert_to_tflite(merged, model, lengths, cache)
    parts = Parts(tflite=model, tokenizer=tokenizer, chat_template=litertlm_template(True))
    create_mediapipe_task(parts, folder / "float32.task")
    create_litertlm(parts, folder / "float32.litertlm")
    files = {kind: folder / f"float32.{kind}" for kind in ("tflite", "task", "litertlm")}
    return {"keras": merged, **files}
