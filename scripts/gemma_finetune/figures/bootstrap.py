"""95 % bootstrap intervals of means (percentile method, Efron & Tibshirani 1993), seeded.

The turns of one conversation are drawn together, since a follow-up is not an independent item. Two
models are compared on the same draws (paired), so that what is hard for both cancels out.
"""

from collections.abc import Sequence

import numpy as np

SAMPLES = 10_000
SEED = 0
COUNTS = 2_000_000  # of numbers drawn at once, so that memory does not grow with the test set


def interval(
    values: np.ndarray, groups: Sequence | np.ndarray, bounds: tuple[float, float]
) -> tuple[float, float]:
    """The 95 % interval of mean(values), cut off at `bounds`.

    values: (N,) outcomes, or differences of paired outcomes.
    groups: (N,) items with the same entry are drawn together.

    If all values are equal, resampling shows no spread. What n draws never showed may still have a
    share of 3 / n (rule of three, Hanley & Lippman-Hand 1983). A single group shows no spread, too.
    """
    values = np.asarray(values, float)
    _, group = np.unique(np.asarray(groups), return_inverse=True)  # (N,) number of its group
    sums, sizes = np.bincount(group, weights=values), np.bincount(group)  # (G,)
    if len(sizes) == 1 or (values == values[0]).all():
        spread = 3 / len(sizes) * _scale(values, bounds)
        low, high = values.mean() - spread, values.mean() + spread
    else:
        low, high = np.percentile(_resampled_means(sums, sizes), [2.5, 97.5])
    return max(bounds[0], float(low)), min(bounds[1], float(high))


def _scale(values: np.ndarray, bounds: tuple[float, float]) -> float:
    """What one item may differ by: 1 for a share, the largest value for a figure without bounds."""
    return 1.0 if np.isfinite(bounds).all() else float(np.abs(values).max())


def _resampled_means(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(SAMPLES,) means of the values, with as many groups drawn as there are.

    sums, sizes: (G,) of the values of each group.
    """
    random, groups = np.random.default_rng(SEED), len(sizes)
    means: list[np.ndarray] = []
    while (left := SAMPLES - sum(map(len, means))) > 0:
        rows = min(left, max(1, COUNTS // groups))
        draws = random.integers(0, groups, (rows, groups))
        means.append(sums[draws].sum(1) / sizes[draws].sum(1))
    return np.concatenate(means)
