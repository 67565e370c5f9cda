"""95 % bootstrap intervals of exact match (percentile method, Efron & Tibshirani 1993), seeded.

The turns of one conversation are drawn together, since a follow-up is not an independent item. Two
models are compared on the same draws (paired), so that what is hard for both cancels out.
"""

from collections.abc import Sequence

import numpy as np

SAMPLES = 10_000
SEED = 0


def interval(
    values: np.ndarray, groups: Sequence, bounds: tuple[float, float]
) -> tuple[float, float]:
    """The 95 % interval of mean(values), cut off at `bounds`.

    values: (N,) outcomes, or differences of paired outcomes.
    groups: (N,) items with the same entry are drawn together.

    If all values are equal, resampling shows no spread. What n draws never showed may still have a
    share of 3 / n (rule of three, Hanley & Lippman-Hand 1983).
    """
    values = np.asarray(values, float)
    _, group = np.unique(np.asarray(groups), return_inverse=True)  # (N,) number of its group
    sums, sizes = np.bincount(group, weights=values), np.bincount(group)  # (G,)
    if (values == values[0]).all():
        low, high = values[0] - 3 / len(sizes), values[0] + 3 / len(sizes)
    else:
        random = np.random.default_rng(SEED)
        draws = random.integers(0, len(sizes), (SAMPLES, len(sizes)))  # (S, G) groups
        means = sums[draws].sum(1) / sizes[draws].sum(1)  # (S,)
        low, high = np.percentile(means, [2.5, 97.5])
    return max(bounds[0], float(low)), min(bounds[1], float(high))
