"""Free text, which can be worded in many ways: how much of the reference's wording an answer has.

- ROUGE-L (Lin, 2004), by rouge-score: F1 of the longest common subsequence of words. Words are told
  by Unicode, because rouge-score's own tokenizer drops every letter that is not a to z. `re` would
  cut words at their marks, and Indian scripts write vowels as marks.
- chrF (Popovic, 2015), by sacrebleu: F2 of character n-grams. It needs no words, so it suits every
  language, and the gate looks at it.
"""

from collections.abc import Sequence

import numpy as np
import regex
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer
from sacrebleu.metrics import CHRF

from gemma_finetune.figures.exact import UNSPACED
from gemma_finetune.figures.task import Figures, Task

WORD = regex.compile(rf"[{UNSPACED}]|[^\W\p{{M}}{UNSPACED}][^\W{UNSPACED}]*")
MOST_WORDS = 2_000  # for ROUGE-L, whose time grows with the square of the length


class _Words(Tokenizer):
    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(text.lower())[:MOST_WORDS]


def fits(references: Sequence[str]) -> bool:
    return True


def figures(references: Sequence[str], answers: Sequence[str]) -> Figures:
    """rouge_l and chrf of each answer, from 0 to 1."""
    rouge, chrf = RougeScorer(["rougeL"], tokenizer=_Words()), CHRF()
    rouge_l, scores = [], []
    for reference, answer in zip(references, answers, strict=True):
        rouge_l.append(rouge.score(reference, answer)["rougeL"].fmeasure)
        scores.append(chrf.sentence_score(answer, [reference]).score / 100)
    return {"rouge_l": np.array(rouge_l), "chrf": np.array(scores)}


TASK = Task("text", "chrf", fits, figures)
