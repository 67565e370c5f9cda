"""Conversations on a model that maps token ids to logits: template, tokenizer, KV cache reuse,
stop, text stream.

Keras and TFLite share all of this; each brings a model with `cache_length`, `position`, `rewind`,
`prefill`, `decode`.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from gemma_finetune.formats.chat_template import render_prompt
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.inference.interface import Backend, PromptTooLong, Usage
from gemma_finetune.utils.cli import UserError


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
        self._text, self._ids = (
            "",
            [],
        )  # the last prompt with its answer, and the ids as the model saw and chose them
        self.weights, self.description = weights, description
        self.context_length = model.cache_length

    def count_tokens(self, text):
        return len(self._encode(text))

    def generate(self, messages, sampler, max_tokens) -> Iterator[str]:
        text = render_prompt(messages)
        prompt = self._encode(text)
        room = self.context_length - len(prompt)
        if room <= 0:
            raise PromptTooLong(len(prompt), self.context_length)
        read = self._read(prompt[:-1])
        answer, pieces, limit = [], [], min(max_tokens, room)
        for piece in to_text(self._tokens(prompt[-1], answer, sampler, limit), self._tokenizer):
            pieces.append(piece)
            yield piece
        complete = len(answer) < limit
        self._text, self._ids = (
            ("".join([text, *pieces]), prompt + answer) if complete else ("", [])
        )
        self.usage = Usage(prompt=len(prompt), read=read + 1, answer=len(answer), complete=complete)

    def close(self):
        self._model = None

    def _encode(self, text):
        """As in training: BOS first, each turn by itself. The last answer keeps the ids it was
        chosen with.
        """
        if self._text and text.startswith(self._text):
            return self._ids + self._tokenizer.encode_conversation(text[len(self._text) :])[0][1:]
        return self._tokenizer.encode_conversation(text)[0]

    def _read(self, ids):
        """Brings the cache to hold `ids`, keeping what it shares with them; returns how many it had
        to read.
        """
        shared = _shared(self._cached, ids)
        self._model.rewind(shared)
        del self._cached[shared:]
        self._model.prefill(ids[shared:])
        self._cached += ids[shared:]
        return len(ids) - shared

    def _tokens(self, token, answer, sampler, limit):
        """Decodes from `token` on; yields each chosen id and puts it into `answer`, until a stop
        token or `limit`.
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
    """Token ids to whole characters as they complete: a character may be spread over up to four
    byte tokens.
    """
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
    """UserError unless the model at `path`, with `size` logits, and the tokenizer have one
    vocabulary.
    """
    if tokenizer.vocabulary_size != size:
        raise UserError(
            f"{path} has a vocabulary of {size} tokens, {tokenizer_path} one of {tokenizer.vocabulary_size}: they are "
            "of different models. Give the model's own with --tokenizer, or make both anew with `dvc repro`"
        )


def _shared(a, b):
    """Length of the common prefix of two lists."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
