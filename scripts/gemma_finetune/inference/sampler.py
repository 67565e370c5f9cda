"""From logits to the next token: greedy, or drawn with temperature, top-k and top-p."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How a token is chosen.

    temperature: 0 is greedy; top_k and top_p then do nothing.
    top_k: only the k largest logits are drawn from; None: all.
    top_p: only the fewest tokens that hold this probability mass are drawn from; 1: all.
    repetition_penalty: r divides a positive logit by r and multiplies a negative one, for each
      token that the answer already holds (Keskar et al. 2019, CTRL), as in LiteRT-LM.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def choose(self, logits: np.ndarray, answer: Sequence[int], random: np.random.Generator) -> int:
        """The next token id.

        logits: (V,).
        answer: the ids chosen so far.
        random: what draws come from.
        """
        scores = _penalize(logits, answer, self.repetition_penalty)
        if self.temperature == 0:
            return int(scores.argmax())
        candidates = _largest(scores, self.top_k)  # (K,) ids, best first
        weights = np.exp((scores[candidates] - scores[candidates[0]]) / self.temperature)
        cumulative = np.cumsum(weights / weights.sum())
        kept = int(np.searchsorted(cumulative, self.top_p)) + 1  # the fewest that reach top_p
        cumulative = cumulative[:kept]
        drawn = np.searchsorted(cumulative, random.random() * cumulative[-1], side="right")
        return int(candidates[drawn])


def _penalize(logits: np.ndarray, answer: Sequence[int], penalty: float) -> np.ndarray:
    scores = logits.astype(np.float64)
    if penalty != 1 and answer:
        seen = np.unique(answer)
        scores[seen] = np.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
    return scores


def _largest(scores: np.ndarray, count: int | None) -> np.ndarray:
    """Indices of the `count` largest, best first; ties go to the lower index."""
    if count is None or count >= len(scores):
        return np.argsort(-scores, kind="stable")
    chosen = np.sort(np.argpartition(-scores, count - 1)[:count])
    return chosen[np.argsort(-scores[chosen], kind="stable")]
