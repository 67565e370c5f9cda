"""Logits into numbers: loss, perplexity, agreement, KL divergence, largest difference, exact match.

Exact match by teacher forcing: greedy decoding gives the reference token by token exactly when, at
every scored position, the largest logit is the reference token (at a turn's end: any stop token).
Proof: as long as all earlier tokens matched, greedy decoding has the same prefix. It costs one pass
and no generation. It is a lower bound of string equality: a model that spells the same string with
other tokens counts as wrong here, and as right in a runtime.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gemma_finetune.utils.machine import count_cores

BLOCK_BYTES = 2 << 20  # of logits that are compared at once: they stay in the processor's cache
SMALL_KL = 0.01  # nats; below it, KL divergence is computed without cancellation
NEAR = 0.5  # differences of logits for which a short series gives exp(e) - 1 - e in float32


@dataclass(frozen=True)
class TokenScores:
    """What is known of each scored position. All arrays are (P,).

    nll: negative log-likelihood of the label, in nats.
    argmax: the token with the largest logit.
    agrees: whether that is also the reference model's.
    kl: KL(reference || rung), in nats.
    diff: the largest difference to the reference model's logits.
    """

    nll: np.ndarray
    argmax: np.ndarray
    agrees: np.ndarray
    kl: np.ndarray
    diff: np.ndarray


def score(logits: np.ndarray, labels: np.ndarray, reference: np.ndarray) -> TokenScores:
    """Scores of `logits` (P, V) against `labels` (P,) and the reference model's logits (P, V)."""
    rows = max(1, BLOCK_BYTES // (4 * logits.shape[1]))
    starts = range(0, len(logits), rows)
    blocks = [slice(start, start + rows) for start in starts]
    arguments = [(logits[block], labels[block], reference[block]) for block in blocks]
    if len(blocks) == 1:
        return _score_block(*arguments[0])
    return join(_threads().map(lambda block: _score_block(*block), arguments))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """numpy computes outside Python's lock. The same threads each time, as glibc keeps memory for
    each new one.
    """
    return ThreadPoolExecutor(count_cores())


def _score_block(logits: np.ndarray, labels: np.ndarray, reference: np.ndarray) -> TokenScores:
    """The scores of a few positions.

    With a vocabulary of 262,144, float64 takes several times as long. So the arrays are float32,
    and their sums pairwise (numpy's own), which loses no more than single roundings do.
    """
    row = np.arange(len(labels))
    argmax, reference_argmax = logits.argmax(-1), reference.argmax(-1)  # (P,)
    top, reference_top = logits[row, argmax], reference[row, reference_argmax]

    exponentials = np.exp(logits - top[:, None])
    log_z = np.float64(top) + np.log(exponentials.sum(-1), dtype=np.float64)  # (P,)
    weights = np.exp(reference - reference_top[:, None])  # (P, V)
    total = weights.sum(-1).astype(np.float64)  # p = weights / total

    delta = logits - reference
    mean = (weights * delta).sum(-1) / total  # of delta, under p
    kl = log_z - (reference_top + np.log(total)) - mean
    small = kl < SMALL_KL
    if small.any():
        kl[small] = _small_kl(weights[small], total[small], delta[small], mean[small])
    return TokenScores(
        nll=log_z - logits[row, labels],
        argmax=argmax,
        agrees=argmax == reference_argmax,
        kl=kl,
        diff=np.abs(delta).max(-1),
    )


def _small_kl(
    weights: np.ndarray, total: np.ndarray, delta: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """(P,) KL divergence without the difference of large numbers, in which a small one drowns.

    KL = log sum p exp(delta) - sum p delta. With e = delta - mean, sum p e is 0, so that
    KL = log(1 + sum p (exp(e) - 1 - e)), and no term of that sum is negative.
    """
    e = delta - mean[:, None].astype(np.float32)  # (P, V)
    near = np.clip(e, -NEAR, NEAR)
    terms = np.full_like(near, 1 / 720)  # exp(e) - 1 - e as e^2 (1/2 + e (1/6 + e (1/24 + ...)))
    for factor in (1 / 120, 1 / 24, 1 / 6, 1 / 2):
        terms *= near
        terms += np.float32(factor)
    terms *= near * near

    far = np.abs(e) > NEAR
    terms[far] = np.expm1(e[far].astype(np.float64)) - e[far]
    return np.log1p((terms * weights).sum(-1) / total)


def join(parts: Iterable[TokenScores]) -> TokenScores:
    """The scores of several sequences as one."""
    parts, columns = list(parts), {}
    for name in TokenScores.__annotations__:
        columns[name] = np.concatenate([getattr(part, name) for part in parts])
    return TokenScores(**columns)


def split(scores: TokenScores, position: int) -> tuple[TokenScores, TokenScores]:
    """The scores before a position, and from it on."""
    columns = [getattr(scores, name) for name in TokenScores.__annotations__]
    before, after = [c[:position] for c in columns], [c[position:] for c in columns]
    return TokenScores(*before), TokenScores(*after)


def summary(scores: TokenScores) -> dict[str, float]:
    """Means over scored tokens, under the names of metrics/evaluate.json. KL and loss in nats."""
    loss = float(scores.nll.mean())
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700)),
        "top1_agreement": float(scores.agrees.mean()),
        "kl": float(np.maximum(scores.kl.mean(), 0.0)),  # nan stays nan
        "max_logit_diff": float(scores.diff.max()),
    }


def split_turns(values: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Per-token values (P,) cut into turns of `lengths` tokens."""
    return np.split(values, np.cumsum(lengths)[:-1])


def is_exact(argmax: np.ndarray, labels: np.ndarray, stop_ids: Sequence[int]) -> bool:
    """Whether greedy decoding gives `labels` (T,), the last of which ends the turn."""
    return bool((argmax[:-1] == labels[:-1]).all() and argmax[-1] in stop_ids)


def greedy_prefix(
    argmax: np.ndarray, labels: np.ndarray, stop_ids: Sequence[int]
) -> tuple[list[int], bool]:
    """(ids, whole): how the greedy answer to a turn begins, as far as teacher forcing knows it.

    `ids` are the reference's up to the first token that differs, and that token. `whole` says that
    the answer ends there; its stop token is then left out.
    """
    wrong = np.flatnonzero(argmax != labels)
    first = int(wrong[0]) if len(wrong) else len(labels) - 1
    ids = [*labels[:first].tolist(), int(argmax[first])]
    if ids[-1] in stop_ids:
        return ids[:-1], True
    return ids, False
