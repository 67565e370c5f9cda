"""Some questions of the test split with the answers of several models, one under the other."""

import re
from collections.abc import Sequence

LONGEST = 1_000  # characters of a text that are shown


def samples(measured: dict[str, dict], turns: Sequence[dict], count: int) -> str:
    """`count` of the asked turns, spread evenly, as Markdown.

    measured: {rung: its record in models/measured/}; those with answers, in this order, are shown.
    turns: every scored turn, as models/measured/float.json has them.
    """
    asked = [turn for turn in turns if turn["asked"]]
    count = min(count, len(asked))
    parts = []
    for place in range(count):
        number = place * len(asked) // count
        turn = asked[number]
        parts.append(f"### {place + 1}. {_code(turn['conversation'])}{_later(turn)}")
        parts += _text("question", turn["question"])
        parts += _text("reference", turn["reference"])
        for rung, record in measured.items():
            answer = record["answers"][number]
            note = "" if answer["stopped"] else f", cut off after {answer['tokens']} tokens"
            parts += _text(f"{_code(rung)}{note}", answer["text"])
    return "\n\n".join(parts)


def _later(turn: dict) -> str:
    return f", answer {turn['place'] + 1}" if turn["place"] else ""


def _text(title: str, text: str) -> list[str]:
    """A title and the text in a fence, which nothing in the text can close."""
    text = _printable(text.strip())
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters)"
    longest_run = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return [title, f"{fence}text\n{text}\n{fence}"]


def _code(name: str) -> str:
    """A name as code in a line of Markdown."""
    return "`" + _printable(name).replace("`", "'").replace("\n", " ") + "`"


def _printable(text: str) -> str:
    """The text with U+FFFD for what would move a terminal's cursor or break a line of the page."""
    text = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
