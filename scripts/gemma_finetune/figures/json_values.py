"""Answers that are JSON: the order of keys and the space between them are free."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from gemma_finetune.figures.task import Figures, Task

NOT_JSON = object()
USUAL_SHARE = 0.9
FENCED = re.compile(r"```(?:json)?[ \t]*\r?\n(.*)```", re.DOTALL | re.IGNORECASE)


def fits(references: Sequence[str]) -> bool:
    """Whether nearly every reference is a JSON object or array; a few may refuse or ask."""
    values = (_parse(reference, _is_fenced(reference)) for reference in references)
    found = sum(isinstance(value, dict | list) for value in values)
    return found >= USUAL_SHARE * len(references)


def figures(references: Sequence[str], answers: Sequence[str]) -> Figures:
    """json_parsed: the answer is JSON. json_equal: it has the reference's value.

    Where the reference stands in a code fence, so must the answer. Where the reference itself is no
    JSON, both say whether the answer is its text.
    """
    parsed, equal = [], []
    for reference, answer in zip(references, answers, strict=True):
        fenced = _is_fenced(reference)
        expected, found = _parse(reference, fenced), _parse(answer, fenced)
        if expected is NOT_JSON:
            same = answer.strip() == reference.strip()
            parsed.append(same)
        else:
            same = same_value(expected, found)
            parsed.append(found is not NOT_JSON)
        equal.append(same)
    return {"json_parsed": np.array(parsed, float), "json_equal": np.array(equal, float)}


def _is_fenced(text: str) -> bool:
    return FENCED.fullmatch(text.strip()) is not None


def _parse(text: str, fenced: bool) -> Any:
    """The JSON value in `text`, or in the code fence that `text` is; else NOT_JSON."""
    if fenced:
        match = FENCED.fullmatch(text.strip())
        text = match[1] if match else ""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # also for what is nested too deep, and for NaN
        return NOT_JSON


def same_value(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal. 1 is 1.0, but not true."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_value, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and a == b


TASK = Task("json", "json_equal", fits, figures)
