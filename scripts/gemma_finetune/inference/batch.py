"""Answering a file of conversations: its rows, and the unfinished output that a second run goes on
from.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_finetune.formats.chat_template import parse, render_prompt
from gemma_finetune.inference.interface import Backend, PromptTooLong
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import aside, read_jsonl


@dataclass(frozen=True)
class Request:
    """Messages that end with the user's. `reference` is the answer the file already had, if it had
    one.
    """

    messages: list[dict]
    id: str | None
    reference: str | None

    def answered(self, text: str) -> dict:
        """The output row: ChatML, which the data stages read, and what came with the request."""
        row = {
            "id": self.id,
            "messages": [*self.messages, {"role": "assistant", "content": text.strip()}],
        }
        return {k: v for k, v in (row | {"reference": self.reference}).items() if v is not None}


def read_requests(path: str | Path) -> list[Request]:
    """Rows `{"messages": [...]}` (ChatML) or `{"text": "<start_of_turn>..."}` (the format
    stage's).
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    return [_request(row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1)]


def refuse_too_long(requests: Sequence[Request], backend: Backend, path: str | Path) -> None:
    """UserError names the first request that leaves no room for an answer: before hours are spent
    on the others.
    """
    for number, request in enumerate(requests, 1):
        tokens = backend.count_tokens(render_prompt(request.messages))
        if tokens >= backend.context_length:
            raise UserError(f"{path}:{number}: {PromptTooLong(tokens, backend.context_length)}")


def _request(row, place):
    try:
        messages = row["messages"] if "messages" in row else parse(row["text"])
        messages = [{"role": m["role"], "content": _text(m["content"])} for m in messages]
        reference = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
        render_prompt(messages)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{place}: not a conversation with `messages` or `text` ({reason})")
    return Request(messages, row.get("id"), reference)


def _text(content):
    if not isinstance(content, str):
        raise ValueError(f"content is a {type(content).__name__}, not text")
    content.encode()  # a lone surrogate is no text: ValueError
    return content


class UnfinishedOutput:
    """Rows on their way to `path`, kept beside it until all are there.

    `settings` is what the answers depend on; the file's first line holds them. UserError where rows
    are there already that were made with others: they may have taken hours, so nobody but the user
    throws them away.
    """

    def __init__(self, path: str | Path, settings: dict):
        self._path, self._partial = Path(path), Path(f"{path}.partial")
        header = json.dumps({"settings": settings}, sort_keys=True).encode() + b"\n"
        found = self._partial.read_bytes() if self._partial.exists() else b""
        if header.startswith(found):  # new, or stopped while it began
            try:
                self._partial.parent.mkdir(parents=True, exist_ok=True)
                self._partial.write_bytes(header)
            except OSError as error:
                raise UserError(f"{self._partial}: cannot be written ({error.strerror})")
            found = header
        whole = [
            line for line in found.splitlines(keepends=True) if line.endswith(b"\n")
        ]  # the last may be cut short
        if whole[:1] != [header]:
            raise UserError(
                f"{self._partial}: {_difference(found, settings)}; delete it to begin anew"
            )
        os.truncate(self._partial, sum(map(len, whole)))
        self.rows = len(whole) - 1

    def append(self, row: dict) -> None:
        with open(self._partial, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows += 1

    def finish(self) -> None:
        """Puts the rows at `path`."""
        with (
            open(self._partial, "rb") as rows,
            aside(self._path) as temporary,
            open(temporary, "wb") as whole,
        ):
            rows.readline()
            shutil.copyfileobj(rows, whole)
        self._partial.unlink()


def _difference(found, settings):
    """What speaks against going on with the rows in `found`."""
    try:
        was = json.loads(found.split(b"\n")[0])["settings"]
        changed = [
            f"{key} was {was.get(key)}, is {settings[key]}"
            for key in settings
            if was.get(key) != settings[key]
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return "not the unfinished answers of generate.py"
    return f"its answers were made with other settings ({'; '.join(changed)})"
