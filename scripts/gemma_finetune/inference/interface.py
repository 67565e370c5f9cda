"""What every backend can do: answer a conversation, count tokens, say what the last answer took."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.cli import UserError


@dataclass(frozen=True)
class Usage:
    """What the last answer took, in tokens: the whole prompt, what of it was newly read, the
    answer.
    """

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
    """A loaded model. `usage` is set when an answer ends; `description` says what computes, for
    people.
    """

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

        PromptTooLong where no token of an answer would fit; ValueError for content with a control
        piece.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees the model."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
