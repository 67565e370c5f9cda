"""95 % bootstrap intervals of exact match (percentile method, Efron & Tibshirani 1993), seeded.

The turns of one conversation are drawn together: a follow-up is no independent item. Two models are
compared on the same draws (paired), so that what is hard for both cancels out.
"""

from collections.abc import Sequence

import numpy as np

SAMPLES = 10_000
SEED = 0


def interval(
    values: np.ndarray, groups: Sequence, bounds: tuple[float, float]
) -> tuple[float, float]:
    """The 95 % interval of mean(values), within `bounds`.

    `values` (N,): outcomes, or differences of paired outcomes; `groups` (N,): what each is drawn
    together with. Where all are equal, resampling shows no spread at all; what n draws never showed
    may still have a share of 3 / n (rule of three, Hanley & Lippman-Hand 1983).
    """
    values = np.asarray(values, float)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)
    if (values == values[0]).all():
        low, high = values[0] - 3 / len(sizes), values[0] + 3 / len(sizes)
    else:
        draws = np.random.default_rng(SEED).integers(0, len(sizes), (SAMPLES, len(sizes)))
        low, high = np.percentile(sums[draws].sum(1) / sizes[draws].sum(1), [2.5, 97.5])
    return max(bounds[0], float(low)), min(bounds[1], float(high))
