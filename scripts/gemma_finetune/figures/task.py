"""What a kind of answer is. A new one is a file beside this one and a line in choose.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Figures = dict[str, np.ndarray]  # {figure: (answers,) float, from 0 to 1}


@dataclass(frozen=True)
class Task:
    """A kind of answer.

    name: its value of evaluate.task.
    score: the figure that the gate and metrics/summary.json look at.
    fits: whether references look like this kind of answer.
    figures: the figures of each answer, from the references and the answers.
    """

    name: str
    score: str
    fits: Callable[[Sequence[str]], bool]
    figures: Callable[[Sequence[str], Sequence[str]], Figures]
