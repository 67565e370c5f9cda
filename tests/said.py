"""What users say in the sample's test split, as tests of several runtimes ask it."""

from collections.abc import Iterator

from gemma_finetune.data.validation import check
from imports import ROOT


def said_in_the_test_split() -> Iterator[list[str]]:
    """The users' messages, conversation by conversation."""
    for path in sorted((ROOT / "data/raw").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            if b'"split": "test"' in line:
                yield [text for role, text in check(line, "auto", ()).turns if role == "human"]
