"""Is a bundle alive? What a person would see at once when it is not, found in its answers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gemma_finetune.config import find_control
from gemma_finetune.evaluation.dataset import Turn

# The same 1-60 characters four times over, up to the end.
_REPEATS = re.compile(r"(.{1,60}?)\1{3,}\Z", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What a runtime answered; `stopped`: it ended by itself, before the limit; `turn`: 1 for a
    first answer.
    """

    text: str
    stopped: bool
    turn: int


@dataclass(frozen=True)
class FollowUp:
    """A second answer in a chat that the runtime holds itself; `same_start`: the first answer was
    the reference's.
    """

    turn: Turn
    answer: Answer
    same_start: bool


def faults(answer: Answer) -> list[str]:
    """Names of what is wrong with an answer, of `FAULTS`; empty when it is alive."""
    found = {
        "empty": answer.turn == 1 and not answer.text.strip(),
        "empty_follow_up": answer.turn > 1 and not answer.text.strip(),
        "unstopped": not answer.stopped,
        "special_token": find_control(answer.text) is not None,
        "repeating": not answer.stopped and bool(_REPEATS.search(answer.text)),
    }
    return [name for name, present in found.items() if present]


FAULTS = ("empty", "empty_follow_up", "unstopped", "special_token", "repeating")


def liveness(answers: Iterable[Answer]) -> dict[str, int]:
    """How many answers show each fault, and how many show any (`faulty`)."""
    found = [faults(answer) for answer in answers]
    return {
        "faulty": sum(map(bool, found)),
        **{name: sum(name in f for f in found) for name in FAULTS},
    }
