"""The small files of a Hugging Face directory that decide how a runtime reads the large one.

keras-hub's `export_to_transformers` leaves out the context length and knows `<eos>` as the only stop; a model
directory from elsewhere may lack any of it. What is written here depends on the vocabulary, not on where it came from.
"""

import json
from pathlib import Path

from gemma_finetune.config import BOS, EOS, PAD, UNK
from gemma_finetune.models.tokenizer import GemmaTokenizer
from gemma_finetune.utils.files import read_json

CONTEXT_LENGTH = 32768  # Gemma 3 270M and 1B


def finish_layout(directory: Path, dtype: str) -> None:
    """Writes config.json (completed), generation_config.json and tokenizer_config.json.

    `directory` holds config.json, model.safetensors with weights of `dtype`, and tokenizer.model.
    """
    tokenizer = GemmaTokenizer(directory / "tokenizer.model")
    ids = {"pad_token_id": tokenizer.pad, "bos_token_id": tokenizer.bos}
    config = read_json(directory / "config.json")
    config.pop("torch_dtype", None)
    config.setdefault("max_position_embeddings", CONTEXT_LENGTH)
    config |= ids | {"eos_token_id": tokenizer.eos, "dtype": dtype, "tie_word_embeddings": True}
    _write(directory / "config.json", config)
    _write(directory / "generation_config.json", ids | {"eos_token_id": list(tokenizer.stop_ids), "do_sample": False})
    pieces = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}
    _write(
        directory / "tokenizer_config.json",
        pieces | {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False},
    )


def _write(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
