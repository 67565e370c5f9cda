"""The model that the tests of export and inference share: a random Gemma 3 whose answers end by
themselves.
"""

import json
import shutil
from pathlib import Path

from gemma_finetune.config import START_OF_TURN

PREFILL_LENGTHS, CACHE_LENGTH = (8, 32), 256


def write_talkative(directory: Path, tokenizer_path: Path, tokenizer) -> None:
    """Hugging Face layout. Blocks of 32 fit every weight; six layers, the last global: keras-hub
    knows no other way.
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
    """Random weights repeat one token for ever. These let layers outweigh the last token, words
    beat bytes, and end.
    """
    import torch

    for name, weight in model.named_parameters():
        if "post_" in name:
            weight.data.fill_(10)
    rows = model.model.embed_tokens.weight.data
    texts = [tokenizer.decode([i]).strip() for i in range(len(rows))]
    rows[[not text or "\ufffd" in text or text == START_OF_TURN for text in texts]] *= 0.3
    rows[tokenizer.end_of_turn] = torch.randn(rows.shape[1]) * 0.6
