"""Reasoning before an answer, and the one rule for it: `data.reasoning`.

- refuse: the row is rejected
- drop: the reasoning is removed, and the row counted
- keep: the reasoning is trained on as part of the answer. A field of its own is written before the
  answer as `<think>`, a line break, the reasoning, a line break, `</think>` and a blank line.

Reasoning is the text of a key whose words say so, such as `reasoning_content` or `cotReasoning`, or
what stands between tags in an answer: `<think>` and its kin at the beginning of the answer or of a
line, tags named like such a key (`<reflection>`, `<thought_process>`) only at the beginning of the
answer, gpt-oss's channels, and Open WebUI's `<details type="reasoning">`. Tags in `code` are text;
but a closing tag alone between backticks of other texts, as `_is_code` knows them, counts. Tags
inside a line may be either: refuse and drop both reject the row.
"""

import re

from gemma_finetune.data.key_words import split_words, words
from gemma_finetune.data.reasoning_keys import is_reasoning_name
from gemma_finetune.data.rejection import Rejection

# Tags that an XML answer may have, too: they are reasoning only if something follows them.
_MAY_BE_THE_ANSWER = split_words("analysis reflection reflections rationale rationales")
_NAMED_TAG = re.compile(r"\s*<([A-Za-z][\w -]{2,40})>")
_CLOSING = re.compile(
    r"</(?:[a-z]{1,10}:)?think(?:ing)?>|\[/THINK\]|◁/think▷"
    r"|<\|(?:end_of_thought|end_of_thinking|end_thinking|/think|/thinking)\|>|<channel\|>",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"(?P<open><(?:[a-z]{1,10}:)?think(?:ing)?>|\[THINK\]|◁think▷"
    r"|<\|(?:begin_of_thought|begin_of_thinking|start_thinking|think|thinking)\|>"
    r"|<\|channel>(?:thought|analysis)\b)"
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
# What stands around the reasoning itself.
_MARKS = re.compile(
    rf"\A\s*<[A-Za-z][\w -]{{2,40}}>|</[A-Za-z][\w -]{{2,40}}>\s*\Z|{_TAG.pattern}", re.IGNORECASE
)
# The answer of OpenThoughts and Bespoke-Stratos.
_SOLUTION = re.compile(
    r"<\|begin_of_solution\|>((?:(?!<\|begin_of_solution\|>).)*)<\|end_of_solution\|>", re.DOTALL
)
# A message of gpt-oss: `<|channel|>analysis<|message|>…<|end|>`.
_CHANNEL = re.compile(
    r"\s*(?:<\|start\|>assistant)?<\|channel\|>\s*(\w+)(?:<\|message\|>|\s)"
    r"((?:(?!<\|(?:end|return|start|channel)\|>).)*)(?:<\|(?:end|return)\|>)?\s*",
    re.DOTALL,
)
# The same in Open WebUI's exports, with `> ` before each line.
_DETAILS = re.compile(
    r'\s*<details type="reasoning"[^>]*>\s*(?:<summary>[^<]*</summary>)?(.*?)</details>',
    re.DOTALL,
)
_QUOTE_MARK = re.compile(r"^[ \t]*(?:>|&gt;) ?", re.MULTILINE)


def with_reasoning(answer: str, reasoning: str | None, where: str) -> str:
    """The answer with its reasoning before it; as it is if it begins with the same reasoning.

    Rejection if it has other reasoning.
    """
    if not reasoning:
        return answer
    answer = without_channels(answer)
    spans = _clear_spans(answer)
    written = "".join(answer[start:end] for start, end in spans)
    inside = _MARKS.sub("", written).strip()
    if inside and inside == reasoning.strip():
        return answer
    if inside:
        raise Rejection(
            "reasoning", f"{where} has reasoning in its text and other reasoning beside it"
        )
    return _as_thought(reasoning, without_reasoning(answer, where) if spans else answer)


def _clear_spans(answer: str) -> list[tuple[int, int]]:
    """As `_spans`; of an answer with unclear tags, such as one about them, the beginning alone."""
    try:
        return _spans(answer, "")
    except Rejection:
        tag = _TAG.match(answer.lstrip())
        end = _CLOSING.search(answer) if tag and tag["open"] else None
        return [(0, end.end())] if end else []


def _as_thought(reasoning: str, answer: str) -> str:
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{answer.strip()}"


def without_reasoning(answer: str, where: str) -> str:
    """The answer without reasoning between tags, nor tags of the solution around the rest; the same
    object if it has none.

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
    left = (kept + answer[end:]).strip()
    solution = _SOLUTION.fullmatch(left)
    return solution[1].strip() if solution else left


def _spans(answer: str, where: str) -> list[tuple[int, int]]:
    """[start, end) of each piece of reasoning, with its tags. Takes linear time."""
    if not _may_have_tags(answer):
        return []
    spans: list[tuple[int, int]] = []
    end = 0
    while first := _first_tag(answer, end):
        closing = re.compile(f"</{re.escape(first[1])}>", re.IGNORECASE)
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


def _may_have_tags(answer: str) -> bool:
    return "<" in answer or "[" in answer or "◁" in answer


def _first_tag(answer: str, start: int = 0) -> re.Match | None:
    """A tag with a name of reasoning, if it is the first thing from `start` on. `<think>` is left
    to `_next_tag`.
    """
    tag = _NAMED_TAG.match(answer, start)
    if not tag or _TAG.match(tag.group().strip()) or not is_reasoning_name(tag[1]):
        return None
    if words(tag[1])[-1] in _MAY_BE_THE_ANSWER:
        pair = re.compile(rf"</{re.escape(tag[1])}>\s*(?=\S)", re.IGNORECASE)
        closed = pair.search(answer, tag.end())
        if not closed or _begins_with_xml(answer, closed.end()):
            return None
    return tag


def _begins_with_xml(answer: str, start: int) -> bool:
    """Whether a tag comes that is not one of reasoning: `<rationale>...</rationale><score>3`."""
    tag = _NAMED_TAG.match(answer, start)
    return tag is not None and not (_TAG.match(tag.group().strip()) or is_reasoning_name(tag[1]))


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
    if not _may_have_tags(answer):
        return False
    return bool(_first_tag(answer) or _next_tag(answer))


def without_channels(answer: str) -> str:
    """An answer in gpt-oss's channels with its analysis as `<think>`, as well as one after Open
    WebUI's block of reasoning; other answers as they are.
    """
    if block := _DETAILS.match(answer):
        return _as_thought(_QUOTE_MARK.sub("", block[1]), answer[block.end() :])
    if "<|channel|>" not in answer[:200]:
        return answer
    texts: dict[str, list[str]] = {}
    end = 0
    while message := _CHANNEL.match(answer, end):
        texts.setdefault(message[1], []).append(message[2].strip())
        end = message.end()
    if rest := answer[end:].strip():
        texts.setdefault("final", []).append(rest)
    if "<|" in rest or not {"final"} <= texts.keys() <= {"analysis", "final"}:
        return answer
    final = "\n\n".join(texts["final"])
    analysis = "\n\n".join(filter(None, texts.get("analysis", [])))
    return _as_thought(analysis, final) if analysis else final
