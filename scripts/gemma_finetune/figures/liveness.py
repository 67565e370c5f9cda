"""Is a model alive? Finds in its answers what a person would see at once if it is not."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gemma_finetune.config import find_control

FAULTS = ("empty", "empty_follow_up", "unstopped", "special_token", "repeating")
FAR = 4  # an answer of so many times the reference's tokens should have ended

# The same 1-60 characters four times over, up to the end: only so many characters can show it.
LONGEST_LOOP = 4 * 60
_REPEATS = re.compile(r"(.{1,60}?)\1{3,}\Z", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    tokens: how many it took.
    stopped: whether it ended by itself, before a limit.
    first: whether it is the first answer of a conversation.
    reference_tokens: how many the reference has.
    foretold: how many the same model's logits foretell; None if they do not say.
    """

    text: str
    tokens: int
    stopped: bool
    first: bool
    reference_tokens: int
    foretold: int | None

    @property
    def endless(self) -> bool:
        """Whether it was cut off where it should have ended long before.

        An answer that a limit cut off is no fault by itself: the limit may be too low for it.
        """
        if self.stopped:
            return False
        foretold = self.foretold is not None and self.foretold <= self.tokens
        return foretold or FAR * self.reference_tokens <= self.tokens


def faults(answer: Answer) -> list[str]:
    """What is wrong with an answer, by the names in FAULTS; empty if it is alive."""
    is_empty = not answer.text.strip()
    present = {
        "empty": is_empty and answer.first,
        "empty_follow_up": is_empty and not answer.first,
        "unstopped": answer.endless,
        "special_token": find_control(answer.text) is not None,
        "repeating": not answer.stopped
        and _REPEATS.search(answer.text[-LONGEST_LOOP:]) is not None,
    }
    return [name for name in FAULTS if present[name]]


def count_faults(answers: Iterable[Answer]) -> dict[str, int]:
    """How many answers show each fault."""
    counts = dict.fromkeys(FAULTS, 0)
    for answer in answers:
        for name in faults(answer):
            counts[name] += 1
    return counts
