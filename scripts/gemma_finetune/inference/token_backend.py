"""Conversations on a model that maps token ids to logits, which Keras and TFLite both do.

Knows the template, the tokenizer, KV cache reuse, where an answer ends and how it becomes text.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.inference.interface import Backend, PromptTooLong, Usage
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.errors import UserError


class TokenModel(Protocol):
    """A model and its KV cache, which holds `position` of at most `cache_length` tokens."""

    cache_length: int
    position: int

    def rewind(self, position: int) -> None: ...
    def prefill(self, ids: Sequence[int]) -> None: ...
    def decode(self, token: int) -> np.ndarray: ...


class TokenBackend(Backend):
    def __init__(
        self, model: TokenModel, tokenizer: GemmaTokenizer, weights: Path, description: str
    ):
        self._model = model
        self._tokenizer = tokenizer
        self._cached: list[int] = []  # the ids whose keys and values the model's cache holds
        # The last prompt with its answer: its text, and its ids as the model saw and chose them.
        self._text = ""
        self._ids: list[int] = []
        self.weights, self.description = weights, description
        self.context_length = model.cache_length
        self.has_functions = tokenizer.has_functions

    def count_tokens(self, text: str) -> int:
        return len(self._encode(text))

    def generate(
        self,
        messages: list[dict],
        sampler: Sampler,
        max_tokens: int,
        tools: Sequence[dict] = (),
    ) -> Iterator[str]:
        text = self.render_prompt(messages, tools)
        prompt = self._encode(text)
        room = self.context_length - len(prompt)
        if room <= 0:
            raise PromptTooLong(len(prompt), self.context_length)
        limit = min(max_tokens, room)

        read = self._read(prompt[:-1]) + 1  # the last one is read by the first decode step
        answer: list[int] = []
        tokens = self._tokens(prompt[-1], answer, sampler, limit)
        for piece in to_text(tokens, self._tokenizer):
            text += piece
            yield piece

        complete = len(answer) < limit
        self._text, self._ids = (text, prompt + answer) if complete else ("", [])
        self.usage = Usage(prompt=len(prompt), read=read, answer=len(answer), complete=complete)

    def close(self) -> None:
        self._model = None  # type: ignore[assignment]

    def _encode(self, text: str) -> list[int]:
        """As in training: BOS first, each turn by itself.

        The last answer keeps the ids that the model chose, so that its cache can be used again.
        """
        if self._text and text.startswith(self._text):
            rest, _ = self._tokenizer.encode_conversation(text[len(self._text) :])
            return self._ids + rest[1:]  # without its BOS
        ids, _ = self._tokenizer.encode_conversation(text)
        return ids

    def _read(self, ids: list[int]) -> int:
        """Makes the cache hold `ids`; returns how many of them were not in it already."""
        shared = _shared(self._cached, ids)
        self._model.rewind(shared)
        del self._cached[shared:]
        self._model.prefill(ids[shared:])
        self._cached += ids[shared:]
        return len(ids) - shared

    def _tokens(self, token: int, answer: list[int], sampler: Sampler, limit: int) -> Iterator[int]:
        """Decodes from `token` on, until a stop token or `limit`.

        Yields each id that is chosen and appends it to `answer`.
        """
        random = np.random.default_rng(sampler.seed)
        while len(answer) < limit:
            logits = self._model.decode(token)
            self._cached.append(token)
            token = sampler.choose(logits, answer, random)
            if token in self._tokenizer.stop_ids:
                return
            answer.append(token)
            yield token


def to_text(tokens: Iterable[int], tokenizer: GemmaTokenizer) -> Iterator[str]:
    """Token ids to whole characters: one character may take up to four byte tokens."""
    pending: list[int] = []
    for token in tokens:
        pending.append(token)
        text = tokenizer.decode(pending)
        if text.endswith("\ufffd") and len(pending) < 4:
            continue
        if text:
            yield text
        pending.clear()
    if pending:
        yield tokenizer.decode(pending)


def check_vocabulary(
    path: str | Path, size: int, tokenizer_path: str | Path, tokenizer: GemmaTokenizer
) -> None:
    """UserError unless the model at `path`, with `size` logits, has the tokenizer's vocabulary."""
    if tokenizer.vocabulary_size != size:
        raise UserError(
            f"{path} has a vocabulary of {size} tokens, {tokenizer_path} one of "
            f"{tokenizer.vocabulary_size}: they are of different models. Give the model's own with "
            "--tokenizer, or make both again with `dvc repro`"
        )


def _shared(a: list[int], b: list[int]) -> int:
    """Length of the common prefix of two lists."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
