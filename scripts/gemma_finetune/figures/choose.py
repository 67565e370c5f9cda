"""Which kind of answer the test set asks for, and the figures of its answers."""

from collections.abc import Sequence

import numpy as np

from gemma_finetune.figures import calls, exact, json_values, text
from gemma_finetune.figures.task import Figures, Task

TASKS = (calls.TASK, json_values.TASK, exact.TASK, text.TASK)  # `auto` takes the first that fits


def choose(name: str, references: Sequence[str]) -> Task:
    """The task of that name; of `auto`, the one that the references look like."""
    for task in TASKS:
        if task.name == name or (name == "auto" and task.fits(references)):
            return task
    raise ValueError(f"evaluate.task is one of the tasks. Received: {name}")


def answer_figures(task: Task, references: Sequence[str], answers: Sequence[str]) -> Figures:
    """Every figure of each answer: exact match and length, and those of the task.

    answer_length: characters.
    """
    lengths = {"answer_length": np.array([len(answer.strip()) for answer in answers], float)}
    return exact.figures(references, answers) | lengths | task.figures(references, answers)
