"""Checks, before any scoring, that every rung is what its name says and reads the same ids."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gemma_finetune.config import BOS, BUNDLE_KINDS, END_OF_TURN, EOS
from gemma_finetune.evaluation.dataset import Tokens
from gemma_finetune.formats.bundle_file import BundleFile, Contents
from gemma_finetune.formats.chat_template import AFFIXES
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import require, sha256


def check_whole(path: Path, stage: str) -> None:
    """UserError if a `.tflite`, made by `stage`, is cut short: LiteRT would crash the process."""
    with _hop(stage):
        TFLiteFile(require(path, stage))


def check_weights(directory: Path, stage: str) -> None:
    """UserError if the weights of a Hugging Face directory, made by `stage`, are cut short."""
    with _hop(stage), open_weights(require(directory / "model.safetensors", stage)):
        pass


@contextmanager
def _hop(stage: str) -> Iterator[None]:
    """Puts the hop's name before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"hop {stage}: {error}")


def check_cache(path: Path, sequences: Sequence[Tokens]) -> None:
    """UserError if a sequence is longer than the exported model's KV cache."""
    longest = max(len(sequence.ids) for sequence in sequences)
    room = TFLiteFile(require(path, "tflite")).cache_length()
    if longest > room:
        raise UserError(
            f"{path}: its cache holds {room} tokens, the longest test sequence (or the probe past "
            f"the sliding window) has {longest}; raise export.cache_length to {longest} or more"
        )


def check_bundles(tflite: Path, bundle: Path, merged: Path, quantizations: Sequence[str]) -> None:
    """UserError unless each bundle holds its name's model, the merged tokenizer, and its tokens."""
    tokenizer = sha256(merged / "tokenizer.model")
    stop_tokens = GemmaTokenizer(merged / "tokenizer.model").stop_pieces()
    models = {}
    for name in quantizations:
        models[name] = sha256(require(tflite / f"{name}.tflite", f"quantize@{name}"))
    for name in quantizations:
        for kind in BUNDLE_KINDS:
            path = require(bundle / f"{name}.{kind}", f"bundle@{name}")
            with _hop(f"bundle@{name}"):
                contents = BundleFile(path).contents()
            if fault := bundle_fault(contents, name, models, tokenizer, stop_tokens):
                raise UserError(
                    f"{path}: hop bundle@{name}: {fault}; run `dvc repro -f bundle@{name}`"
                )


def bundle_fault(
    contents: Contents,
    name: str,
    models: dict[str, str],
    tokenizer: str,
    stop_tokens: Sequence[str] = (EOS, END_OF_TURN),
) -> str | None:
    """What is wrong inside the bundle of quantization `name`, or None.

    models: the SHA-256 expected of each quantization's model; tokenizer: that of the tokenizer.
    stop_tokens: the pieces that end an answer in training.
    """
    if contents.model_sha256 != models[name]:
        others = [other for other, digest in models.items() if digest == contents.model_sha256]
        return f"it holds the model {others[0] if others else 'of another run'}, not {name}"
    if contents.tokenizer_sha256 != tokenizer:
        return "its tokenizer is not the merged model's"
    if contents.start_token != BOS:
        return f"its start token is {contents.start_token!r}, not {BOS}"
    if set(contents.stop_tokens) != set(stop_tokens):
        return f"its stop tokens are {contents.stop_tokens}, not {' and '.join(stop_tokens)}"
    if contents.affixes != AFFIXES:
        return f"its turns are written {contents.affixes}, training's {AFFIXES}"
    return None
