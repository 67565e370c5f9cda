"""A .tflite on the CPU, on LiteRT alone: no TensorFlow, no Keras, no torch."""

from pathlib import Path

from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.inference.token_backend import TokenBackend, check_vocabulary
from gemma_finetune.runtime.tflite_model import TFLiteModel
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import require

TOKENIZER = "models/merged/tokenizer.model"


def open_tflite(path: str | Path, tokenizer: str | Path | None, threads: int) -> TokenBackend:
    """The model at `path` with `tokenizer`, or the tokenizer.model beside it, or the pipeline's
    own.
    """
    beside = Path(path).parent / "tokenizer.model"
    if tokenizer and not Path(tokenizer).is_file():
        raise UserError(f"{tokenizer}: no such file")
    tokenizer_path = (
        Path(tokenizer) if tokenizer else beside if beside.exists() else require(TOKENIZER, "merge")
    )
    model, pieces = TFLiteModel(path, threads), GemmaTokenizer(tokenizer_path)
    check_vocabulary(path, model.vocabulary_size, tokenizer_path, pieces)
    return TokenBackend(model, pieces, Path(path), f"TFLite on the CPU, {threads} threads: {path}")
