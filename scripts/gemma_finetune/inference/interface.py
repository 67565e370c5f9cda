"""What every backend can do: answer a conversation, count tokens, say what the last answer took."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gemma_finetune.formats.chat_template import render_prompt
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.errors import UserError


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
    has_functions: whether its vocabulary has the pieces of function calls.
    """

    description: str
    weights: Path
    context_length: int
    usage: Usage | None = None
    has_functions: bool = False

    def template_tools(self, tools: Sequence[dict]) -> list[dict] | None:
        """The functions as the template takes them: None for a model without functions.

        UserError if there are some for such a model.
        """
        if tools and not self.has_functions:
            raise UserError(
                f"{self.weights}: its vocabulary has no pieces for function calls, so it cannot be "
                "given functions; fine-tune function_gemma_instruct_270m"
            )
        return list(tools) if self.has_functions else None

    def render_prompt(self, messages: list[dict], tools: Sequence[dict] = ()) -> str:
        """The text after which the model answers."""
        return render_prompt(messages, self.template_tools(tools))

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Number of tokens of a rendered conversation or prompt, BOS included."""

    @abstractmethod
    def generate(
        self,
        messages: list[dict],
        sampler: Sampler,
        max_tokens: int,
        tools: Sequence[dict] = (),
    ) -> Iterator[str]:
        """The answer in pieces of text. What the KV cache holds of the prompt is not read again.

        tools: functions that the model may call. Calls are part of the text
        (`formats/function_calls.py`).

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
