"""The small files of a Hugging Face directory, which tell a runtime how to read the weights.

keras-hub's `export_to_transformers` leaves out the context length and writes `<eos>` as the only
stop token; a model directory from elsewhere may lack any of it. What is written here depends only
on the vocabulary.
"""

import json
from pathlib import Path
from typing import Any

from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

from gemma_finetune.config import BOS, END_OF_TURN, EOS, PAD, START_OF_TURN, UNK
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.files import read_json

CONTEXT_LENGTH = 32768  # Gemma 3 270M and 1B


def finish_layout(directory: Path, dtype: str) -> None:
    """Completes config.json; writes generation_config.json and tokenizer_config.json.

    `directory` holds config.json, model.safetensors with weights of `dtype`, and tokenizer.model.
    """
    tokenizer = GemmaTokenizer(directory / "tokenizer.model")
    ids = {"pad_token_id": tokenizer.pad, "bos_token_id": tokenizer.bos}

    config = read_json(directory / "config.json")
    config.pop("torch_dtype", None)  # the old name of `dtype`
    config.pop("auto_map", None)  # names of Python code to run
    config.setdefault("max_position_embeddings", CONTEXT_LENGTH)
    config |= ids | {"eos_token_id": tokenizer.eos, "dtype": dtype, "tie_word_embeddings": True}
    _write(directory / "config.json", config)

    generation = ids | {"eos_token_id": list(tokenizer.stop_ids), "do_sample": False}
    _write(directory / "generation_config.json", generation)

    tokenizer_config = {
        "tokenizer_class": "GemmaTokenizer",
        "pad_token": PAD,
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNK,
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": _added_tokens(directory / "tokenizer.model"),
    }
    _write(directory / "tokenizer_config.json", tokenizer_config)


def _added_tokens(path: Path) -> dict[int, dict]:
    """{id: settings} of the pieces that SentencePiece never splits.

    transformers must be told of them, or it splits them.
    """
    model = ModelProto.FromString(path.read_bytes())
    kinds = ModelProto.SentencePiece
    added = {}
    for token_id, piece in enumerate(model.pieces):
        is_marker = piece.piece in (START_OF_TURN, END_OF_TURN)
        if is_marker or piece.type in (kinds.CONTROL, kinds.UNKNOWN):
            added[token_id] = _added_token(piece.piece, special=True)
        elif piece.type == kinds.USER_DEFINED:
            added[token_id] = _added_token(piece.piece, special=False)
    return added


def _added_token(piece: str, special: bool) -> dict[str, Any]:
    return {
        "content": piece,
        "special": special,
        # A piece with a space, written U+2581, is found in normalized text only.
        "normalized": not special,
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
    }


def _write(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
