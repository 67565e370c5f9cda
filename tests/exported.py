"""A random Gemma 3 whose answers end, and what the export makes of it: shared by many tests."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from gemma_finetune.config import START_OF_TURN
from imports import SCRIPTS

PREFILL_LENGTHS, CACHE_LENGTH = (8, 32), 256


def write_talkative(directory: Path, tokenizer_path: Path, tokenizer) -> None:
    """Writes the model in Hugging Face layout.

    Blocks of 32 divide every weight. Six layers, the last global: keras-hub knows no other pattern.
    """
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(4)
    config = Gemma3TextConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=16,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        max_position_embeddings=1024,
        initializer_range=0.2,
        pad_token_id=None,  # else the row of <pad> is zero, and its scale too
    )
    model = Gemma3ForCausalLM(config)
    _make_talkative(model, tokenizer)
    model.save_pretrained(directory)
    shutil.copyfile(tokenizer_path, directory / "tokenizer.model")
    tokens = {
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    (directory / "tokenizer_config.json").write_text(
        json.dumps(tokens | {"tokenizer_class": "GemmaTokenizer"})
    )


def _make_talkative(model, tokenizer):
    """Makes the model answer with several words and stop.

    With random weights alone it would repeat one token forever.
    """
    import torch

    for name, weight in model.named_parameters():
        if "post_" in name:
            weight.data.fill_(10)  # layers outweigh the last token
    rows = model.model.embed_tokens.weight.data
    texts = [tokenizer.decode([i]).strip() for i in range(len(rows))]
    unwanted = [not text or "\ufffd" in text or text == START_OF_TURN for text in texts]
    rows[unwanted] *= 0.3  # words beat bytes
    rows[tokenizer.end_of_turn] = torch.randn(rows.shape[1]) * 0.6


# Fixtures, for the conftest.py of each folder that uses them. Read only.


@pytest.fixture(scope="session")
def quantized(tmp_path_factory, float32) -> dict[str, Path]:
    """{recipe: its .tflite} of every recipe of the repository."""
    from gemma_finetune.export.quantizer import quantize

    folder = tmp_path_factory.mktemp("quantized")
    paths = {}
    for recipe in sorted(SCRIPTS.glob("recipes/*.json")):
        paths[recipe.stem] = folder / f"{recipe.stem}.tflite"
        quantize(float32, paths[recipe.stem], recipe)
    return paths


@pytest.fixture(scope="session")
def parts(quantized, talkative):
    """The parts of the INT8 model's bundles."""
    from gemma_finetune.export.bundle import Parts
    from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE

    return Parts(
        tflite=quantized["int8"],
        tokenizer=talkative / "tokenizer.model",
        chat_template=LITERTLM_TEMPLATE,
    )


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, parts) -> dict[str, Path]:
    """{"task", "litertlm"} of the INT8 model."""
    from gemma_finetune.export.bundle import create_litertlm, create_mediapipe_task

    folder = tmp_path_factory.mktemp("bundle")
    create_mediapipe_task(parts, folder / "int8.task")
    create_litertlm(parts, folder / "int8.litertlm")
    return {"task": folder / "int8.task", "litertlm": folder / "int8.litertlm"}


@pytest.fixture(scope="session")
def exact(tmp_path_factory, float32, parts) -> Path:
    """The .litertlm of the float32 model. Other kernels round the INT8 model's activations to other
    integers, which changes the answers of weights that are random.
    """
    from gemma_finetune.export.bundle import create_litertlm

    path = tmp_path_factory.mktemp("exact") / "float32.litertlm"
    create_litertlm(dataclasses.replace(parts, tflite=float32), path)
    return path
