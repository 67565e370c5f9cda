"""A .tflite on the CPU, on LiteRT alone: without TensorFlow, Keras or torch."""

from pathlib import Path

from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.inference.token_backend import TokenBackend, check_vocabulary
from gemma_finetune.runtime.tflite_model import TFLiteModel
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import require

TOKENIZER = "models/merged/tokenizer.model"


def open_tflite(path: str | Path, tokenizer: str | Path | None, threads: int) -> TokenBackend:
    """The model at `path` with `tokenizer`, else the one beside it, else the pipeline's own."""
    path = Path(path)
    tokenizer_path = _find_tokenizer(path, tokenizer)
    model, pieces = TFLiteModel(path, threads), GemmaTokenizer(tokenizer_path)
    check_vocabulary(path, model.vocabulary_size, tokenizer_path, pieces)
    return TokenBackend(model, pieces, path, f"TFLite on the CPU, {threads} threads: {path}")


def _find_tokenizer(path: Path, tokenizer: str | Path | None) -> Path:
    if tokenizer:
        if not Path(tokenizer).is_file():
            raise UserError(f"{tokenizer}: no such file")
        return Path(tokenizer)
    beside = path.parent / "tokenizer.model"
    return beside if beside.exists() else require(TOKENIZER, "merge")
