"""Answering a file of conversations: its rows, and the unfinished output that a second run goes on from."""

import json
from dataclasses import dataclass
from pathlib import Path

from gemma_finetune.data.formatter import parse, render_prompt
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import aside, read_jsonl


@dataclass(frozen=True)
class Request:
    """Messages that end with the user's. `reference` is the answer the file already had, if it had one."""

    messages: list[dict]
    id: str | None
    reference: str | None

    def answered(self, text: str) -> dict:
        """The output row: ChatML, which the data stages read, and what came with the request."""
        row = {"id": self.id, "messages": [*self.messages, {"role": "assistant", "content": text.strip()}]}
        return {k: v for k, v in (row | {"reference": self.reference}).items() if v is not None}


def read_requests(path: str | Path) -> list[Request]:
    """Rows `{"messages": [...]}` (ChatML) or `{"text": "<start_of_turn>..."}` (the format stage's)."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    return [_request(row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1)]


def _request(row, place):
    try:
        messages = parse(row["text"]) if "text" in row else row["messages"]
        messages = [{"role": m["role"], "content": m["content"]} for m in messages]
        reference = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
        render_prompt(messages)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{place}: not a conversation with `messages` or `text` ({reason})")
    return Request(messages, row.get("id"), reference)


class UnfinishedOutput:
    """Rows on their way to `path`, kept beside it until all are there.

    `settings` is what the answers depend on; rows made with others are thrown away. Its first line holds them.
    """

    def __init__(self, path: str | Path, settings: dict):
        self._path, self._partial = Path(path), Path(f"{path}.partial")
        self._header = json.dumps({"settings": settings}, sort_keys=True) + "\n"
        lines = self._partial.read_bytes().splitlines(keepends=True) if self._partial.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]  # the last may have been cut short
        resumed = bool(whole) and whole[0] == self._header.encode()
        self.rows = len(whole) - 1 if resumed else 0
        _write(self._partial, b"".join(whole) if resumed else self._header.encode())

    def append(self, row: dict) -> None:
        with open(self._partial, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows += 1

    def finish(self) -> None:
        """Puts the rows at `path`."""
        _write(self._path, self._partial.read_bytes().split(b"\n", 1)[1])
        self._partial.unlink()


def _write(path, content):
    with aside(path) as temporary:
        temporary.write_bytes(content)
