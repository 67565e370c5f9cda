"""Figures of answers that may hold function calls, as FunctionGemma writes them.

Arguments are compared by type and value: 1 is 1.0, but neither "1" nor true. Keys may stand in any
order. Several calls of one answer must come in the reference's order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gemma_finetune.config import START_CALL
from gemma_finetune.figures.task import Task
from gemma_finetune.formats.function_calls import Call, split_calls

FIGURES = (
    "call_parsed", "call_name", "call_arguments", "call_exact", "false_call", "missed_call",
)  # fmt: skip


def has_calls(references: Sequence[str]) -> bool:
    """Whether a reference holds a call."""
    return any(START_CALL in reference for reference in references)


def figures(references: Sequence[str], answers: Sequence[str]) -> dict[str, np.ndarray]:
    """{figure: (answers,) float, 0 or 1}.

    call_parsed: every call in the answer can be read.
    call_name: it has the reference's calls by name; none where the reference has none.
    call_arguments: by arguments.
    call_exact: by both.
    false_call: it has a call where the reference has none.
    missed_call: it has no call that can be read where the reference has one.
    """
    rows = [judge(*pair) for pair in zip(references, answers, strict=True)]
    return {name: np.array([row[name] for row in rows], float) for name in FIGURES}


def judge(reference: str, answer: str) -> dict[str, bool]:
    """The figures of one answer."""
    _, expected = split_calls(reference)
    try:
        found, is_parsed = split_calls(answer)[1], True
    except (ValueError, RecursionError):  # LiteRT-LM gives no answer for such a text
        found, is_parsed = [], False

    same_names = is_parsed and _column(found, "name") == _column(expected, "name")
    same_arguments = is_parsed and same(_column(found, "arguments"), _column(expected, "arguments"))
    return {
        "call_parsed": is_parsed,
        "call_name": same_names,
        "call_arguments": same_arguments,
        "call_exact": same_names and same_arguments,
        "false_call": not expected and (bool(found) or not is_parsed),
        "missed_call": bool(expected) and not found,
    }


def _column(calls: Sequence[Call], key: str) -> list[Any]:
    return [call[key] for call in calls]


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, but not true."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and a == b


TASK = Task("calls", "call_exact", has_calls, figures)
