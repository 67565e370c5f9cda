"""The small files of a Hugging Face directory that decide how a runtime reads the large one.

keras-hub's `export_to_transformers` leaves out the context length and knows `<eos>` as the only
stop; a model directory from elsewhere may lack any of it. What is written here depends on the
vocabulary, not on where it came from.
"""

import json
from pathlib import Path

from sentencepiece.sentencepiece_model_pb2 import (
    ModelProto,  # type: ignore[attr-defined]  # made at import
)

from gemma_finetune.config import BOS, END_OF_TURN, EOS, PAD, START_OF_TURN, UNK
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.files import read_json

CONTEXT_LENGTH = 32768  # Gemma 3 270M and 1B


def finish_layout(directory: Path, dtype: str) -> None:
    """Writes config.json (completed), generation_config.json and tokenizer_config.json.

    `directory` holds config.json, model.safetensors with weights of `dtype`, and tokenizer.model.
    """
    tokenizer = GemmaTokenizer(directory / "tokenizer.model")
    ids = {"pad_token_id": tokenizer.pad, "bos_token_id": tokenizer.bos}
    config = read_json(directory / "config.json")
    for name in ("torch_dtype", "auto_map"):  # the old name of dtype; the names of code to run
        config.pop(name, None)
    config.setdefault("max_position_embeddings", CONTEXT_LENGTH)
    config |= ids | {"eos_token_id": tokenizer.eos, "dtype": dtype, "tie_word_embeddings": True}
    _write(directory / "config.json", config)
    _write(
        directory / "generation_config.json",
        ids | {"eos_token_id": list(tokenizer.stop_ids), "do_sample": False},
    )
    pieces = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}
    _write(
        directory / "tokenizer_config.json",
        pieces
        | {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False}
        | {"added_tokens_decoder": _added_tokens(directory / "tokenizer.model")},
    )


def _added_tokens(path):
    """The pieces that SentencePiece takes whole wherever they stand; transformers must be told, or
    it splits them.
    """
    model = ModelProto()
    model.ParseFromString(path.read_bytes())
    added = {}
    for token_id, piece in enumerate(model.pieces):
        marker = piece.piece in (START_OF_TURN, END_OF_TURN)
        if marker or piece.type in (
            ModelProto.SentencePiece.CONTROL,
            ModelProto.SentencePiece.UNKNOWN,
        ):
            added[token_id] = _added_token(piece.piece, special=True)
        elif piece.type == ModelProto.SentencePiece.USER_DEFINED:
            added[token_id] = _added_token(piece.piece, special=False)
    return added


def _added_token(piece, special):
    # Normalized text is where a piece with a space in it, written U+2581, is found.
    edges = dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    return edges | {"content": piece, "special": special, "normalized": not special}


def _write(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
