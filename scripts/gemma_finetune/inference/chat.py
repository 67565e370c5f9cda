"""A conversation with a model: its history, what fits the context, what it took. Prints nothing.

session = ChatSession(backend, sampler, max_tokens=256, system="Answer in one word.")
for piece in session.ask("Is the lamp on?"):
    print(piece, end="", flush=True)
"""

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_finetune.config import find_control
from gemma_finetune.formats.chat_template import render, render_prompt
from gemma_finetune.inference.interface import Backend, PromptTooLong, Usage
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Stats:
    """What the last answer took: tokens, and seconds on this machine."""

    usage: Usage
    first_token: float  # seconds from the question to the first text
    total: float  # seconds from the question to the end

    def tokens_per_second(self) -> float:
        """Tokens of the answer by the time from the question to the end.

        The time between pieces would not do: LiteRT-LM hands out text late and in lumps.
        """
        return self.usage.answer / self.total


class ChatSession:
    """`messages` is the conversation so far, the system text first if there is one."""

    def __init__(
        self, backend: Backend, sampler: Sampler, max_tokens: int, system: str | None = None
    ):
        self._backend, self._sampler, self._max_tokens = backend, sampler, max_tokens
        self._system = [{"role": "system", "content": as_text(system)}] if system else []
        self._turns: list[dict] = []
        self.dropped = 0  # how many turns the last `ask` dropped to make room
        self.stats: Stats | None = None

    @property
    def messages(self) -> list[dict]:
        return self._system + self._turns

    def ask(self, text: str) -> Generator[str, None, None]:
        """The answer to `text` in pieces. If closed early, the history keeps what came so far.

        PromptTooLong if `text` alone does not fit the context; the history is then unchanged.
        """
        turns = [*self._turns, {"role": "user", "content": as_text(text)}]
        kept = self._fit(turns)
        self.dropped = len(turns) - len(kept)
        self.stats = None
        started, first, pieces = time.perf_counter(), None, []
        answer = self._backend.generate(self._system + kept, self._sampler, self._max_tokens)
        try:
            for piece in answer:
                first = first or time.perf_counter()
                pieces.append(piece)
                yield piece
            ended = time.perf_counter()
            assert self._backend.usage  # set when an answer ends
            self.stats = Stats(self._backend.usage, (first or ended) - started, ended - started)
        finally:
            if pieces or self.stats:
                self._turns = [*kept, {"role": "assistant", "content": as_text("".join(pieces))}]

    def reset(self) -> None:
        """Forgets the conversation; the system text stays."""
        self._turns, self.stats = [], None

    def undo(self) -> bool:
        """Forgets the last question and its answer. False if there is none."""
        found = bool(self._turns)
        self._turns, self.stats = self._turns[:-2], None
        return found

    def context_used(self) -> tuple[int, int]:
        """Number of tokens of the conversation so far, and how many the context holds."""
        return self._backend.count_tokens(render(self.messages)), self._backend.context_length

    def cut_off_by(self) -> str | None:
        """The limit that ended the last answer; None if it ended by itself, or was stopped."""
        if self.stats is None or self.stats.usage.complete:
            return None
        if self.stats.usage.answer >= self._max_tokens:
            return f"generate.max_tokens, {self._max_tokens}"
        return f"the end of the context, {self._backend.context_length} tokens"

    def save(self, path: str | Path) -> None:
        """Adds the conversation to a ChatML JSONL file, as a row that the data stages read."""
        if not self._turns:
            raise UserError("nothing to save: the conversation is empty")
        earlier = list(read_jsonl(path)) if Path(path).exists() else []
        write_jsonl(path, [*earlier, {"messages": self.messages}])

    def load(self, path: str | Path) -> None:
        """Continues the last conversation of a ChatML JSONL file."""
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file")
        rows = list(read_jsonl(path))
        messages = _messages(path, rows[-1] if rows else None)
        systems = [m for m in messages if m["role"] == "system"]
        self._system, self._turns = systems, messages[len(systems) :]

    def _fit(self, turns: list[dict]) -> list[dict]:
        """The latest of `turns` that leave room for an answer.

        The oldest are dropped in pairs, a question with its answer.
        """
        context = self._backend.context_length
        room = min(self._max_tokens, context // 4)
        tokens = self._count(turns)
        while tokens + room > context and len(turns) > 2:
            turns = turns[2:]
            tokens = self._count(turns)
        if tokens >= context:
            raise PromptTooLong(tokens, context)
        return turns

    def _count(self, turns: list[dict]) -> int:
        return self._backend.count_tokens(render_prompt(self._system + turns))


def as_text(content: str) -> str:
    """`content` with every control piece broken by a space: what is typed is text, never a turn."""
    # A broken byte from the keyboard cannot be encoded and becomes a question mark.
    content = content.strip().encode(errors="replace").decode()
    while piece := find_control(content):
        content = content.replace(piece, f"{piece[0]} {piece[1:]}")
    return content


def _messages(path: str | Path, row: Any) -> list[dict]:
    """The messages of a ChatML row that ends with an answer."""
    try:
        messages = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
        if messages[-1]["role"] != "assistant":
            raise ValueError("the last message is not the assistant's")
        render(messages)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: the last row is not a ChatML conversation ({error})")
    return messages
