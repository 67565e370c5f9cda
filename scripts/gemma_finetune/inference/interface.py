"""What every backend can do: answer a conversation, count tokens, say what the last answer took."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.cli import UserError


@dataclass(frozen=True)
class Usage:
    """How many tokens the last answer took.

    prompt: the whole prompt.
    read: the part of it that was not in the KV cache yet.
    answer: the answer.
    complete: False if it was cut off, by `max_tokens` or by the end of the context.
    """

    prompt: int
    read: int
    answer: int
    complete: bool


class PromptTooLong(UserError):
    """The prompt leaves no room for an answer."""

    def __init__(self, tokens: int, context_length: int):
        super().__init__(
            f"the prompt is too long: {tokens} tokens, and the model's context holds "
            f"{context_length}; shorten it, or make a model with a larger export.cache_length"
        )


class Backend(ABC):
    """A loaded model.

    description: what computes, in words for people.
    weights: the file that holds the model's weights.
    context_length: how many tokens of prompt and answer fit.
    usage: what the last complete call of `generate` took.
    """

    description: str
    weights: Path
    context_length: int
    usage: Usage | None = None

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Number of tokens of a rendered conversation or prompt, BOS included."""

    @abstractmethod
    def generate(self, messages: list[dict], sampler: Sampler, max_tokens: int) -> Iterator[str]:
        """The answer in pieces of text. What the KV cache holds of the prompt is not read again.

        PromptTooLong if no token of an answer would fit; ValueError if content holds a control
        piece.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees the model."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
