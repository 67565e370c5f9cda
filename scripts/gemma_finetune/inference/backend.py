"""The one interface of inference: Keras, TFLite and the bundle answer a conversation the same way.

with open_backend("bundle", "models/bundle/int8.task", config) as backend:
    for piece in backend.generate([{"role": "user", "content": "Turn on the lamp"}], Sampler(), max_tokens=64):
        print(piece, end="", flush=True)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import require

DEFAULT_MODEL = {
    "keras": "models/merged",
    "tflite": "models/tflite/int8.tflite",
    "bundle": "models/bundle/int8.task",
}
_STAGE = {"keras": "merge", "tflite": "quantize", "bundle": "bundle"}


@dataclass(frozen=True)
class Usage:
    """What the last answer took, in tokens: the whole prompt, what of it was newly read, the answer."""

    prompt: int
    read: int
    answer: int
    complete: bool  # False: it was cut off by `max_tokens` or by the end of the context


class PromptTooLong(UserError):
    """The prompt leaves no room for an answer."""

    def __init__(self, tokens: int, context_length: int):
        super().__init__(
            f"the prompt is too long: {tokens} tokens, and the model's context holds {context_length}; shorten it, or "
            "make a model with a larger export.cache_length"
        )


class Backend(ABC):
    """A loaded model. `usage` is set when an answer ends; `description` says what computes, for people."""

    description: str
    weights: Path  # the file that holds the model's weights
    context_length: int
    usage: Usage | None = None

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of a rendered conversation or prompt, BOS included."""

    @abstractmethod
    def generate(self, messages: list[dict], sampler: Sampler, max_tokens: int) -> Iterator[str]:
        """The answer in pieces of text. What is still known of an earlier prompt is not read again.

        PromptTooLong where no token of an answer would fit; ValueError for content with a control piece.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees the model."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def open_backend(kind: str | None, path: str | None, config: GenerateConfig, tokenizer: str | None = None) -> Backend:
    """The model at `path` on "keras", "tflite" or "bundle"; without a kind what `path` looks like, or the bundle.

    Without a path the pipeline's own model. `tokenizer` is for a bare .tflite of another pipeline. Only what the kind
    needs is imported.
    """
    kind = kind or _kind(path)
    model = _find(path or DEFAULT_MODEL[kind], _STAGE[kind])
    if kind == "keras":
        from gemma_finetune.inference.keras_inference import open_keras

        return open_keras(model, config.dtype, config.context_length)
    if kind == "tflite":
        from gemma_finetune.inference.tflite_inference import open_tflite

        return open_tflite(model, tokenizer, config.thread_count())
    from gemma_finetune.inference.bundle_inference import BundleBackend

    return BundleBackend(model, config.thread_count())


def _kind(path):
    if path and Path(path).is_dir():
        return "keras"
    return "tflite" if path and Path(path).suffix == ".tflite" else "bundle"


def _find(path, stage):
    """`path`, if it exists. What the pipeline makes is told how to get; anything else is just not there."""
    if not Path(path).is_absolute() and Path(path).parts[0] == "models":
        return require(path, stage)
    if not Path(path).exists():
        raise UserError(f"{path}: no such file or folder")
    return Path(path)
