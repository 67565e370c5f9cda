"""One random Gemma 3 whose answers end by themselves, as Hugging Face directory, .tflite, .task and .litertlm.

The files are shared: read only.
"""

import json
import shutil
from pathlib import Path

import pytest

from gemma_finetune.config import START_OF_TURN
from gemma_finetune.export.bundle import Parts, create_litertlm, create_mediapipe_task
from gemma_finetune.export.chat_template import LITERTLM_TEMPLATE
from gemma_finetune.export.converter import convert_to_tflite
from gemma_finetune.inference.backend import open_backend
from gemma_finetune.inference.config import GenerateConfig

PREFILL_LENGTHS, CONTEXT_LENGTH = (8, 32), 256
CONFIG = GenerateConfig(
    max_tokens=24,
    temperature=0.0,
    top_k=None,
    top_p=1.0,
    repetition_penalty=1.0,
    seed=0,
    threads=1,
    dtype="float32",
    context_length=CONTEXT_LENGTH,
)


@pytest.fixture(scope="session")
def merged(tmp_path_factory, tokenizer, tokenizer_path) -> Path:
    """Six layers, the last of them global: keras-hub knows no other pattern."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    directory = tmp_path_factory.mktemp("merged")
    torch.manual_seed(1)
    config = Gemma3TextConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=16,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        max_position_embeddings=1024,
        initializer_range=0.2,
        pad_token_id=None,
    )
    model = Gemma3ForCausalLM(config)
    _make_talkative(model, tokenizer)
    model.save_pretrained(directory)
    shutil.copyfile(tokenizer_path, directory / "tokenizer.model")
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokens | {"tokenizer_class": "GemmaTokenizer"}))
    return directory


def _make_talkative(model, tokenizer):
    """Random weights repeat one token for ever. These let layers outweigh the last token, words beat bytes, and end."""
    import torch

    for name, weight in model.named_parameters():
        if "post_" in name:
            weight.data.fill_(10)
    rows = model.model.embed_tokens.weight.data
    texts = [tokenizer.decode([i]).strip() for i in range(len(rows))]
    rows[[not text or "\ufffd" in text or text == START_OF_TURN for text in texts]] *= 0.3
    rows[tokenizer.end_of_turn] = torch.randn(rows.shape[1]) * 0.3


@pytest.fixture(scope="session")
def models(tmp_path_factory, merged) -> dict[str, Path]:
    """{"keras", "tflite", "task", "litertlm"}: the same model four times; the tokenizer lies beside the .tflite."""
    folder = tmp_path_factory.mktemp("models")
    convert_to_tflite(merged, folder / "float32.tflite", PREFILL_LENGTHS, CONTEXT_LENGTH)
    shutil.copyfile(merged / "tokenizer.model", folder / "tokenizer.model")
    parts = Parts(
        tflite=folder / "float32.tflite", tokenizer=folder / "tokenizer.model", chat_template=LITERTLM_TEMPLATE
    )
    create_mediapipe_task(parts, folder / "float32.task")
    create_litertlm(parts, folder / "float32.litertlm")
    return {"keras": merged} | {kind: folder / f"float32.{kind}" for kind in ("tflite", "task", "litertlm")}


@pytest.fixture(scope="session")
def backends(models) -> dict:
    """An opened backend of each kind. What a test leaves in their caches must not matter to the next."""
    opened = {kind: open_backend(None, str(path), CONFIG) for kind, path in models.items()}
    yield opened
    for backend in opened.values():
        backend.close()
