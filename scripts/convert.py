"""Turns every valid record into a conversation in the one canonical form, ShareGPT's.

data/validated/records.jsonl -> data/converted/conversations.jsonl

    python scripts/convert.py
"""

from gemma_finetune.data.validation import convert_lines
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside, made_by, require
from gemma_finetune.utils.parallel import chunks, map_ordered


def main() -> None:
    source = require("data/validated/records.jsonl", "validate")
    rows = 0
    with (
        open(source, "rb") as records,
        aside("data/converted") as folder,
        made_by("validate", source),
    ):
        folder.mkdir()
        with open(folder / "conversations.jsonl", "wb") as file:
            for lines in map_ordered(convert_lines, chunks(records)):
                file.write(lines)
                rows += lines.count(b"\n")
        if not rows:
            raise ValueError("it is empty")
    print(f"{rows:,} conversations")


if __name__ == "__main__":
    run(main)
