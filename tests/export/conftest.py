"""One conversion for all export tests: a random Gemma 3 of two layers (one local, one global), and what is made of it.

The files are shared: read only.
"""

import json
import shutil
from pathlib import Path

import pytest

from gemma_finetune.export.bundle import Parts, create_litertlm, create_mediapipe_task
from gemma_finetune.export.chat_template import LITERTLM_TEMPLATE
from gemma_finetune.export.converter import convert_to_tflite
from gemma_finetune.export.quantizer import quantize

RECIPES = Path(__file__).parents[2] / "scripts" / "recipes"
PREFILL_LENGTHS, CACHE_LENGTH = (8, 32), 96


@pytest.fixture(scope="session")
def merged(tmp_path_factory, tokenizer, tokenizer_path) -> Path:
    """Hugging Face layout; block sizes of 32 fit every weight."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    directory = tmp_path_factory.mktemp("merged")
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=1024,
        initializer_range=0.2,
        pad_token_id=None,  # else the row of <pad> is zero, and its scale too
    )
    Gemma3ForCausalLM(config).save_pretrained(directory)
    shutil.copyfile(tokenizer_path, directory / "tokenizer.model")
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokens | {"tokenizer_class": "GemmaTokenizer"}))
    return directory


@pytest.fixture(scope="session")
def float32(tmp_path_factory, merged) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "float32.tflite"
    convert_to_tflite(merged, path, PREFILL_LENGTHS, CACHE_LENGTH)
    return path


@pytest.fixture(scope="session")
def quantized(float32) -> dict[str, Path]:
    """{recipe: its .tflite} of every recipe of the repository."""
    paths = {recipe.stem: float32.with_name(f"{recipe.stem}.tflite") for recipe in sorted(RECIPES.glob("*.json"))}
    for name, path in paths.items():
        quantize(float32, path, RECIPES / f"{name}.json")
    return paths


@pytest.fixture(scope="session")
def parts(quantized, merged) -> Parts:
    return Parts(tflite=quantized["int8"], tokenizer=merged / "tokenizer.model", chat_template=LITERTLM_TEMPLATE)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, parts) -> dict[str, Path]:
    """{"task", "litertlm"} of the INT8 model."""
    folder = tmp_path_factory.mktemp("bundle")
    create_mediapipe_task(parts, folder / "int8.task")
    create_litertlm(parts, folder / "int8.litertlm")
    return {"task": folder / "int8.task", "litertlm": folder / "int8.litertlm"}
