"""Figures of answers that may hold function calls, as FunctionGemma writes them.

Arguments are compared by type and value: 1 is 1.0, but neither "1" nor true. Keys may stand in any
order. Several calls of one answer must come in the reference's order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gemma_finetune.config import START_CALL
from gemma_finetune.figures.json_values import same_value
from gemma_finetune.figures.task import Task
from gemma_finetune.formats.function_calls import Call, split_calls

FIGURES = (
    "call_parsed", "call_name", "call_arguments", "call_exact", "false_call", "missed_call",
)  # fmt: skip


def has_calls(references: Sequence[str]) -> bool:
    """Whether at least a tenth of the references hold a call that can be read."""
    found = sum(START_CALL in reference and bool(_calls(reference)) for reference in references)
    return 10 * found >= len(references) and found > 0


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
    expected = _calls(reference) or []  # a text that only looks like a call has none
    calls = _calls(answer)
    found, is_parsed = calls or [], calls is not None

    same_names = is_parsed and _column(found, "name") == _column(expected, "name")
    same_arguments = is_parsed and same_value(
        _column(found, "arguments"), _column(expected, "arguments")
    )
    return {
        "call_parsed": is_parsed,
        "call_name": same_names,
        "call_arguments": same_arguments,
        "call_exact": same_names and same_arguments,
        "false_call": not expected and (bool(found) or not is_parsed),
        "missed_call": bool(expected) and not found,
    }


def _calls(text: str) -> list[Call] | None:
    """The calls in a text; None if one cannot be read: LiteRT-LM then gives no answer."""
    try:
        return split_calls(text)[1]
    except (ValueError, RecursionError):
        return None


def _column(calls: Sequence[Call], key: str) -> list[Any]:
    return [call[key] for call in calls]


TASK = Task("calls", "call_exact", has_calls, figures)
