"""Reasoning before an answer, and the one rule for it: `data.reasoning`.

- refuse: the row is rejected
- drop: the reasoning is removed, and the row counted
- keep: the reasoning is trained on as part of the answer. A field of its own is written before the
  answer as `<think>`, a line break, the reasoning, a line break, `</think>` and a blank line.

Reasoning is the text of a key such as `reasoning_content`, or what stands between tags in an
answer: `<think>` and `<thinking>` at the beginning of the answer or of a line, `<reasoning>` and
`<thought>` only at the beginning of the answer. Tags in `code` are text; but a closing tag alone
between backticks of other texts, as `_is_code` knows them, counts. Tags inside a line may be
either: refuse and drop both reject the row.
"""

import re
from collections.abc import Mapping

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.turn_list import small

KEYS = frozenset(
    "reasoning reasoning_content reasoning_text reasoning_details thinking thinking_content "
    "thinking_blocks reasoningcontent thought thoughts think chain_of_thought complex_cot cot "
    "rationale scratchpad".split()
)
SWITCHES = ("on", "off", "true", "false", "yes", "no", "none", "low", "medium", "high")
HINT = "data.reasoning says what to do with it: drop or keep"

_FIRST_TAG = re.compile(r"\s*<(thoughts?|reasoning)>", re.IGNORECASE)
_CLOSING = re.compile(r"</think(?:ing)?>|\[/THINK\]|<\|end_of_thought\|>", re.IGNORECASE)
_TAG = re.compile(
    r"(?P<open><think(?:ing)?>|\[THINK\]|<\|begin_of_thought\|>)"
    f"|(?P<close>{_CLOSING.pattern})",
    re.IGNORECASE,
)
# Code, or else an opening or a closing tag. Code comes first: tags in it are not found.
_CODE_OR_TAG = re.compile(
    rf"```.*?```|`[^`\n]*`|{_TAG.pattern}",
    re.IGNORECASE | re.DOTALL,
)
# A closing tag alone in backticks or quotes: a text about the tag.
_QUOTED = re.compile(rf"([`'\"])\s*(?:{_CLOSING.pattern})\s*\1", re.IGNORECASE)


def is_reasoning(key: str, value: object) -> bool:
    """Whether a key holds reasoning. A switch (`"reasoning": "off"`) is none."""
    if small(key) not in KEYS or isinstance(value, bool | int | float) or is_nothing(value):
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

    A closing tag alone ends reasoning that began in the prompt. Rejection if a tag is never closed,
    or stands inside a line.
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
    spans: list[tuple[int, int]] = []
    end = 0
    if first := _FIRST_TAG.match(answer):
        closing = re.compile(f"</{first[1]}>", re.IGNORECASE)
        end = _end_of_reasoning(answer, first, closing, where)
        spans.append((first.start(), end))

    while tag := _next_tag(answer, end):
        if not _is_at_edge(answer, end, tag):
            raise Rejection(
                "reasoning",
                f"{where} has {tag.group()!r} inside a line, so it may be reasoning or not; begin "
                "a line with it, or put it in backticks if the text is about the tag",
            )
        if tag["open"]:
            start, end = tag.start(), _end_of_reasoning(answer, tag, _CLOSING, where)
        else:
            start, end = end, tag.end()
        spans.append((start, end))
    return spans


def _end_of_reasoning(answer: str, tag: re.Match, closing: re.Pattern, where: str) -> int:
    found = closing.search(answer, tag.end())
    if not found:
        shown = answer[tag.start() : tag.start() + 20]
        raise Rejection("reasoning", f"{where} opens {shown!r} and never closes it")
    return found.end()


def _next_tag(answer: str, start: int = 0) -> re.Match | None:
    """The first tag outside of code."""
    for found in _CODE_OR_TAG.finditer(answer, start):
        if found.lastgroup:
            return found
        if not _is_code(found.group()):
            return _TAG.search(answer, found.start())
    return None


def _is_code(text: str) -> bool:
    """Whether text between backticks is code. Backticks of two different places have the end of
    reasoning between them, but not its beginning.
    """
    if not _CLOSING.search(text):
        return True
    first = _TAG.search(_QUOTED.sub("", text))
    return first is None or first["open"] is not None


def _is_at_edge(answer: str, start: int, tag: re.Match) -> bool:
    """Whether a tag begins a line, or ends one if it is a closing tag.

    start: the beginning of the answer, or the end of the reasoning before.
    """
    before = answer[max(start, answer.rfind("\n", start, tag.start())) : tag.start()]
    if before.isspace() or not before:
        return True
    line_end = answer.find("\n", tag.end())
    after = answer[tag.end() : line_end if line_end >= 0 else None]
    return bool(tag["close"]) and (after.isspace() or not after)


def has_reasoning(answer: str) -> bool:
    """Whether an answer holds a tag of reasoning outside of code."""
    if "<" not in answer and "[" not in answer:
        return False
    return bool(_FIRST_TAG.match(answer) or _next_tag(answer))
