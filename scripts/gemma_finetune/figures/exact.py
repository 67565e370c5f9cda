"""Answers that have one right wording: labels, short phrases."""

import re
from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np

from gemma_finetune.figures.task import Figures, Task

LABEL_WORDS = 3  # a label is at most so long
# Thai, Lao, Burmese, Khmer, Japanese and Chinese have no spaces: there, each character counts as a
# word.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
PHRASE_WORDS = 12  # a typical phrase, if at least half of the references are said twice


def fits(references: Sequence[str]) -> bool:
    """Whether the references are labels, or short phrases that repeat."""
    words = median(len(WORD.findall(reference)) for reference in references)
    counts = Counter(reference.strip() for reference in references)
    repeated = sum(count for count in counts.values() if count > 1)
    return words <= LABEL_WORDS or (words <= PHRASE_WORDS and 2 * repeated >= len(references))


def figures(references: Sequence[str], answers: Sequence[str]) -> Figures:
    """exact_match: the answer is the reference's text, apart from the space around it."""
    pairs = zip(references, answers, strict=True)
    equal = [answer.strip() == reference.strip() for reference, answer in pairs]
    return {"exact_match": np.array(equal, float)}


TASK = Task("exact", "exact_match", fits, figures)
