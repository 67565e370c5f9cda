"""Logits into numbers: loss, perplexity, agreement, KL divergence, largest difference, exact match.

Exact match by teacher forcing: greedy decoding gives the reference token by token exactly when, at
every scored position, the largest logit is the reference token (at a turn's end: any stop token).
Proof: as long as all earlier tokens matched, greedy decoding has the same prefix. It costs one pass
and no generation. It is a lower bound of string equality: a model that spells the same string with
other tokens counts as wrong here, as right in a runtime.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenScores:
    """Per scored position, (P,): negative log-likelihood of the label, argmax of the logits,
    whether it is the reference's, KL(reference || rung), and the largest difference to the
    reference's logits.
    """

    nll: np.ndarray
    argmax: np.ndarray
    agrees: np.ndarray
    kl: np.ndarray
    diff: np.ndarray


def score(logits: np.ndarray, labels: np.ndarray, reference: np.ndarray) -> TokenScores:
    """Scores of `logits` (P, V) against `labels` (P,) and the reference model's logits (P, V)."""
    log_q, log_p = _log_softmax(logits), _log_softmax(reference)
    return TokenScores(
        nll=-log_q[np.arange(len(labels)), labels],
        argmax=logits.argmax(-1),
        agrees=logits.argmax(-1) == reference.argmax(-1),
        kl=(np.exp(log_p) * (log_p - log_q)).sum(-1),
        diff=np.abs(logits - reference).max(-1),
    )


def _log_softmax(logits):
    """In float64: the KL of two models that agree is far below float32's resolution."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def join(parts: Iterable[TokenScores]) -> TokenScores:
    """The scores of several sequences as one."""
    parts = list(parts)
    return TokenScores(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in TokenScores.__annotations__)
    )


def summary(scores: TokenScores) -> dict[str, float]:
    """Means over scored tokens, under the names metrics/evaluate.json uses. KL and loss in nats."""
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
    """Whether greedy decoding gives a turn's reference, `labels` (T,), the last of which ends the
    turn.
    """
    return bool((argmax[:-1] == labels[:-1]).all() and argmax[-1] in stop_ids)


def foretold(
    argmax: np.ndarray, labels: np.ndarray, stop_ids: Sequence[int]
) -> tuple[list[int], bool]:
    """(ids, whole): how the greedy answer to a turn begins, as far as teacher forcing knows it.

    The reference up to the first token that differs, and that token; `whole` if the answer ends
    there.
    """
    wrong = np.flatnonzero(argmax != labels)
    first = int(wrong[0]) if len(wrong) else len(labels) - 1
    ids = [*labels[:first].tolist(), int(argmax[first])]
    return (ids[:-1], True) if ids[-1] in stop_ids else (ids, False)
