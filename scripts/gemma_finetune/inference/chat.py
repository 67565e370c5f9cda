"""A conversation with a model: its history, what fits the context, what it took. Prints nothing.

session = ChatSession(backend, sampler, max_tokens=256, system="Answer in one word.")
for piece in session.ask("Is the lamp on?"):
    print(piece, end="", flush=True)

With functions, an answer may hold calls. Their results are given back, and the answer goes on:

if session.calls:
    for piece in session.give([{"on": True}]):
        print(piece, end="", flush=True)
"""

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_finetune.config import find_control, find_function_piece
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.tool_rows import as_object, plain
from gemma_finetune.formats.chat_template import render
from gemma_finetune.formats.function_calls import answer_message
from gemma_finetune.inference.functions import read_conversation
from gemma_finetune.inference.interface import Backend, PromptTooLong, Usage
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_jsonl, write_jsonl

FindPiece = Callable[[str], str | None]


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
        self,
        backend: Backend,
        sampler: Sampler,
        max_tokens: int,
        system: str | None = None,
        tools: Sequence[dict] = (),
    ):
        backend.template_tools(tools)  # UserError if the model cannot call functions
        self.tools = list(tools)
        self._backend, self._sampler, self._max_tokens = backend, sampler, max_tokens
        self._system: list[dict] = []
        if system:
            self._system = [{"role": "system", "content": as_text(system, self._pieces())}]
        self._turns: list[dict] = []
        self.results: list[Any] = []  # of the first of `calls`
        self.dropped = 0  # how many turns the last `ask` dropped to make room
        self.stats: Stats | None = None

    @property
    def messages(self) -> list[dict]:
        return self._system + self._turns

    @property
    def calls(self) -> list[dict]:
        """The calls of the last answer: {"name", "arguments"}. They wait for their results."""
        last = self._turns[-1] if self._turns else {}
        return [call["function"] for call in last.get("tool_calls", [])]

    @property
    def waiting(self) -> list[dict]:
        """Those of `calls` that have no result yet."""
        return self.calls[len(self.results) :]

    def ask(self, text: str) -> Generator[str, None, None]:
        """The answer to `text` in pieces. If closed early, the history keeps what came so far.

        PromptTooLong if `text` alone does not fit the context; the history is then unchanged.
        """
        if self.calls:
            raise UserError("the calls of the last answer wait for their results; /undo drops them")
        return self._answer({"role": "user", "content": as_text(text, self._pieces())})

    def give(self, results: Sequence[Any]) -> Generator[str, None, None]:
        """As `ask`, for the results of the last answer's calls, one each, in their order."""
        responses = []
        for call, result in zip(self.calls, results, strict=True):
            try:
                safe = plain(_safe(result), f"the result of {call['name']}")
            except Rejection as rejection:
                raise UserError(rejection.message)
            responses.append({"name": call["name"], "response": as_object(safe)})
        return self._answer({"role": "tool", "content": responses})

    def _pieces(self) -> FindPiece:
        """What finds the pieces of the model's vocabulary that a text must not hold."""
        return find_any_piece if self._backend.has_functions else find_control

    def _answer(self, message: dict) -> Generator[str, None, None]:
        turns = [*self._turns, message]
        kept = self._fit(turns)
        self.dropped = len(turns) - len(kept)
        self.stats = None
        started, first, pieces = time.perf_counter(), None, []
        answer = self._backend.generate(
            self._system + kept, self._sampler, self._max_tokens, self.tools
        )
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
                self._turns = [*kept, self._as_message("".join(pieces))]

    def _as_message(self, text: str) -> dict:
        """The answer as a message. What is no call that can be read is text."""
        message = answer_message(text) if self.tools else {"role": "assistant", "content": text}
        if find_any_piece(json.dumps(message.get("tool_calls"))):
            message = {"role": "assistant", "content": text}  # no template would write it again
        if "content" in message:
            message["content"] = as_text(message["content"], self._pieces())
        return message

    def reset(self) -> None:
        """Forgets the conversation; the system text stays."""
        self._turns, self.stats, self.results = [], None, []

    def undo(self) -> bool:
        """Forgets the last question and its answer. False if there is none."""
        asked = _questions(self._turns)
        self._turns, self.stats = self._turns[: asked[-1]] if asked else [], None
        self.results = []
        return bool(asked)

    def context_used(self) -> tuple[int, int]:
        """Number of tokens of the conversation so far, and how many the context holds."""
        text = render(self.messages, self._backend.template_tools(self.tools))
        return self._backend.count_tokens(text), self._backend.context_length

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
        row = {"messages": self.messages} | ({"tools": self.tools} if self.tools else {})
        write_jsonl(path, [*earlier, row])

    def load(self, path: str | Path) -> None:
        """Continues the last conversation of a ChatML JSONL file."""
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file")
        rows = list(read_jsonl(path))
        messages, tools = _messages(path, rows[-1] if rows else None)
        try:
            render(messages, self._backend.template_tools(tools))
        except ValueError as error:
            raise UserError(f"{path}: not a conversation for this model ({error})")
        self.tools, self.results, self.stats = tools or self.tools, [], None
        systems = [m for m in messages if m["role"] == "system"]
        self._system, self._turns = systems, messages[len(systems) :]

    def _fit(self, turns: list[dict]) -> list[dict]:
        """The latest of `turns` that leave room for an answer.

        The oldest are dropped first, each question with all that answers it.
        """
        context = self._backend.context_length
        room = min(self._max_tokens, context // 4)
        tokens = self._count(turns)
        while tokens + room > context and (later := _questions(turns)[1:]):
            turns = turns[later[0] :]
            tokens = self._count(turns)
        if tokens >= context:
            raise PromptTooLong(tokens, context)
        return turns

    def _count(self, turns: list[dict]) -> int:
        return self._backend.count_tokens(
            self._backend.render_prompt(self._system + turns, self.tools)
        )


def _questions(turns: list[dict]) -> list[int]:
    """The places of the user's messages."""
    return [place for place, turn in enumerate(turns) if turn["role"] == "user"]


def find_any_piece(text: str) -> str | None:
    """The first control piece of FunctionGemma's vocabulary in `text`, or None."""
    return find_control(text) or find_function_piece(text)


def _safe(result: Any) -> Any:
    """A result whose strings and keys hold no control piece; nothing else of it is changed."""
    if isinstance(result, dict):
        return {_broken(str(key), find_any_piece): _safe(item) for key, item in result.items()}
    if isinstance(result, list | tuple):
        return [_safe(item) for item in result]
    return _broken(result, find_any_piece) if isinstance(result, str) else result


def as_text(content: str, find: FindPiece = find_control) -> str:
    """`content` without white space around it, and with every control piece broken by a space: what
    is typed is text, never a turn.
    """
    return _broken(content.strip(), find)


def _broken(content: str, find: FindPiece) -> str:
    """`content` with every control piece broken by a space."""
    # A broken byte from the keyboard cannot be encoded and becomes a question mark.
    content = content.encode(errors="replace").decode()
    while piece := find(content):
        content = content.replace(piece, f"{piece[0]} {piece[1:]}")
    return content


def _messages(path: str | Path, row: Any) -> tuple[list[dict], list[dict]]:
    """The messages of a ChatML row that ends with an answer, and its functions."""
    try:
        messages, tools = read_conversation(row["messages"], row.get("tools"))
        if messages[-1]["role"] != "assistant":
            raise ValueError("the last message is not the assistant's")
        render(messages, tools or None)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: the last row is not a ChatML conversation ({error})")
    return messages, tools
