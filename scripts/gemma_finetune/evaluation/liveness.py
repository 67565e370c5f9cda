"""Is a bundle alive? Finds in its answers what a person would see at once if it is not."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gemma_finetune.config import find_control
from gemma_finetune.evaluation.dataset import Turn

FAULTS = ("empty", "empty_follow_up", "unstopped", "special_token", "repeating")

# The same 1-60 characters four times over, up to the end.
_REPEATS = re.compile(r"(.{1,60}?)\1{3,}\Z", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What a runtime answered.

    stopped: whether it ended by itself, before the limit.
    turn: 1 for the first answer of a conversation.
    """

    text: str
    stopped: bool
    turn: int


@dataclass(frozen=True)
class FollowUp:
    """A second answer in a chat that the runtime holds itself.

    same_start: whether the first answer was the reference's.
    """

    turn: Turn
    answer: Answer
    same_start: bool


def faults(answer: Answer) -> list[str]:
    """What is wrong with an answer, by the names in FAULTS; empty if it is alive."""
    is_empty = not answer.text.strip()
    present = {
        "empty": is_empty and answer.turn == 1,
        "empty_follow_up": is_empty and answer.turn > 1,
        "unstopped": not answer.stopped,
        "special_token": find_control(answer.text) is not None,
        "repeating": not answer.stopped and _REPEATS.search(answer.text) is not None,
    }
    return [name for name in FAULTS if present[name]]


def liveness(answers: Iterable[Answer]) -> dict[str, int]:
    """How many answers show each fault, and how many show any (`faulty`)."""
    counts = dict.fromkeys(("faulty", *FAULTS), 0)
    for answer in answers:
        found = faults(answer)
        counts["faulty"] += bool(found)
        for name in found:
            counts[name] += 1
    return counts
