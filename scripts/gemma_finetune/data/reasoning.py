"""Reasoning before an answer, and the one rule for it: `data.reasoning`.

- refuse: the row is rejected
- drop: the reasoning is removed, and the row counted
- keep: the reasoning is trained on as part of the answer. A field of its own is written before the
  answer as `<think>`, a line break, the reasoning, a line break, `</think>` and a blank line.

Reasoning is the text of a key such as `reasoning_content`, or what stands between tags in an
answer: `<think>` and `<thinking>` anywhere, `<reasoning>` and `<thought>` at its beginning.
"""

import re
from collections.abc import Mapping

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.rejection import Rejection

KEYS = frozenset(
    "reasoning reasoning_content reasoning_text reasoning_details thinking thinking_content "
    "thinking_blocks thought thoughts think chain_of_thought complex_cot cot rationale "
    "scratchpad".split()
)
SWITCHES = ("on", "off", "true", "false", "yes", "no", "none", "low", "medium", "high")
HINT = "data.reasoning says what to do with it: drop or keep"

_TAG = re.compile(r"</?think(?:ing)?>|\[/?THINK\]|<\|(?:begin|end)_of_thought\|>", re.IGNORECASE)
_FIRST_TAG = re.compile(r"\s*<(thoughts?|reasoning)>", re.IGNORECASE)
_CLOSING = ("</", "[/", "<|end")


def is_reasoning(key: str, value: object) -> bool:
    """Whether a key holds reasoning. A switch (`"reasoning": "off"`) is none."""
    if key.lower() not in KEYS or isinstance(value, bool | int | float) or is_nothing(value):
        return False
    return not (isinstance(value, str) and value.strip().lower() in SWITCHES)


def reasoning_of(extra: Mapping[str, object] | None, where: str) -> str | None:
    """The reasoning in the extra keys of an answer. Rejection if it is not one text."""
    found = [(key, value) for key, value in (extra or {}).items() if is_reasoning(key, value)]
    if not found:
        return None
    key, value = found[0]
    if not isinstance(value, str) or len({str(value) for _, value in found}) > 1:
        raise Rejection(
            "reasoning",
            f"{where} has `{key}`, which is not one text, so data.reasoning cannot keep it",
        )
    return value


def with_reasoning(answer: str, reasoning: str | None) -> str:
    """The answer with its reasoning before it."""
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{answer.strip()}" if reasoning else answer


def without_reasoning(answer: str, where: str) -> str:
    """The answer without reasoning between tags; the same object if it has none.

    A closing tag alone ends reasoning that began in the prompt. Rejection if a tag is never closed.
    """
    spans = _spans(answer, where)
    if not spans:
        return answer
    kept, end = "", 0
    for start, stop in spans:
        kept += answer[end:start]
        end = stop
    return (kept + answer[end:]).strip()


def _spans(answer: str, where: str) -> list[tuple[int, int]]:
    """[start, end) of each piece of reasoning, with its tags. Takes linear time."""
    if "<" not in answer and "[" not in answer:
        return []
    first = _FIRST_TAG.match(answer)
    pattern = re.compile(f"</?{first[1]}>", re.IGNORECASE) if first else _TAG

    spans: list[tuple[int, int]] = []
    start = None
    for tag in pattern.finditer(answer):
        if not tag.group().lower().startswith(_CLOSING):
            start = tag.start() if start is None else start
            continue
        if start is None:
            start = spans[-1][1] if spans else 0
        spans.append((start, tag.end()))
        start = None
    if start is not None:
        raise Rejection(
            "reasoning", f"{where} opens {answer[start : start + 20]!r} and never closes it"
        )
    return spans


def has_reasoning(answer: str) -> bool:
    """Whether an answer holds a tag of reasoning."""
    if "<" not in answer and "[" not in answer:
        return False
    return bool(_TAG.search(answer) or _FIRST_TAG.match(answer))
