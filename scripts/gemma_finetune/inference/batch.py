"""Answering a file of conversations: its rows, and the unfinished output, which can be resumed."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_finetune.formats.chat_template import parse
from gemma_finetune.formats.function_calls import answer_message, answer_text
from gemma_finetune.inference.functions import read_conversation, render_either
from gemma_finetune.inference.interface import Backend, PromptTooLong
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, read_jsonl

EXAMPLE = '{"messages": [{"role": "user", "content": "Hi"}]}'


@dataclass(frozen=True)
class Request:
    """Messages that end with the user's, or with a function's result.

    `tools` are the functions that may be called. `reference` is the answer that the file had.
    """

    messages: list[dict]
    tools: list[dict]
    id: str | None
    reference: str | None

    def answered(self, text: str) -> dict:
        """The output row: ChatML, which the data stages read, and what came with the request."""
        messages = [*self.messages, answer_message(text)]
        row = {
            "id": self.id,
            "messages": messages,
            "tools": self.tools or None,
            "reference": self.reference,
        }
        return {key: value for key, value in row.items() if value is not None}


def read_requests(path: str | Path) -> list[Request]:
    """The file's rows, by their `messages` (ChatML), or else their `text` ("<start_of_turn>...").

    Rows of the format stage have both. UserError names the first row that is not a conversation.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    return [_request(row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1)]


def refuse_as_output(output: str | Path, questions: str | Path) -> None:
    """UserError if the answers would take the place of the questions, a folder, a pipe or a device.

    Whatever is there is replaced when all answers are there, /dev/stdout included.
    """
    path = Path(output)
    is_other = path.exists() and not path.is_file()
    if is_other or path.parent == Path("/dev") or path.resolve() == Path(questions).resolve():
        raise UserError(f"{output}: name another file for the answers")


def refuse_too_long(requests: Sequence[Request], backend: Backend, path: str | Path) -> None:
    """UserError names the first request that leaves no room for an answer.

    Called before any is answered, which may take hours.
    """
    for number, request in enumerate(requests, 1):
        try:
            prompt = backend.render_prompt(request.messages, request.tools)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not a conversation for this model ({error})")
        tokens = backend.count_tokens(prompt)
        if tokens >= backend.context_length:
            raise UserError(f"{path}:{number}: {PromptTooLong(tokens, backend.context_length)}")


def _request(row: Any, place: str) -> Request:
    try:
        if not row.keys() & {"messages", "text"}:
            raise ValueError("it has neither `messages` nor `text`")
        found = row["messages"] if "messages" in row else parse(row["text"])
        messages, tools = read_conversation(found, row.get("tools"))
        is_answered = messages[-1]["role"] == "assistant"
        reference = answer_text(messages.pop()) if is_answered else None
        render_either(messages, tools)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{place}: not a conversation ({reason}); a row is {EXAMPLE}")
    return Request(messages, tools, row.get("id"), reference)


class UnfinishedOutput:
    """Answered rows, kept in `path`.partial until all of them are there.

    The file's first line holds `settings`, which are what the answers depend on. UserError if there
    are answers already that were made with different settings: they may have taken hours, so only
    the user deletes them.
    """

    def __init__(self, path: str | Path, settings: dict):
        self._path, self._partial = Path(path), Path(f"{path}.partial")
        header = json.dumps({"settings": settings}, sort_keys=True).encode() + b"\n"
        found = self._partial.read_bytes() if self._partial.exists() else b""
        if header.startswith(found):  # a new file, or a run that was killed in its first line
            self._begin(header)
            found = header

        # The last line may be cut short.
        whole = [line for line in found.splitlines(keepends=True) if line.endswith(b"\n")]
        if whole[:1] != [header]:
            raise UserError(
                f"{self._partial}: {_difference(found, settings)}; delete it to start over"
            )
        os.truncate(self._partial, sum(map(len, whole)))
        self.rows = len(whole) - 1

    def _begin(self, header: bytes) -> None:
        try:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._partial.write_bytes(header)
        except OSError as error:
            raise UserError(f"{self._partial}: cannot be written ({error.strerror})")

    def append(self, row: dict) -> None:
        with open(self._partial, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows += 1

    def finish(self) -> None:
        """Puts the rows at `path`, without the first line."""
        with aside(self._path) as temporary:
            with open(self._partial, "rb") as rows, open(temporary, "wb") as whole:
                rows.readline()
                shutil.copyfileobj(rows, whole)
        self._partial.unlink()


def _difference(found: bytes, settings: dict) -> str:
    """Why the answers in `found` cannot be continued."""
    try:
        was = json.loads(found.split(b"\n")[0])["settings"]
        changed = []
        for key, value in settings.items():
            if was.get(key) != value:
                changed.append(f"{key} was {was.get(key)}, is {value}")
    except (ValueError, TypeError, KeyError, AttributeError):
        return "not the unfinished answers of generate.py"
    return f"its answers were made with other settings ({'; '.join(changed)})"
