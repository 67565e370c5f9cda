"""Logits into numbers: loss, perplexity, agreement, KL divergence, largest difference, exact match.

Exact match by teacher forcing: greedy decoding gives the reference token by token exactly when, at
every scored position, the largest logit is the reference token (at a turn's end: any stop token).
Proof: as long as all earlier tokens matched, greedy decoding has the same prefix. It costs one pass
and no generation. It is a lower bound of string equality: a model that spells the same string with
other tokens counts as wrong here, and as right in a runtime.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


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
    log_q, log_p = _log_softmax(logits), _log_softmax(reference)
    argmax = logits.argmax(-1)
    return TokenScores(
        nll=-log_q[np.arange(len(labels)), labels],
        argmax=argmax,
        agrees=argmax == reference.argmax(-1),
        kl=(np.exp(log_p) * (log_p - log_q)).sum(-1),
        diff=np.abs(logits - reference).max(-1),
    )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """In float64: the KL of two models that agree is far below float32's resolution."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def join(parts: Iterable[TokenScores]) -> TokenScores:
    """The scores of several sequences as one."""
    parts, columns = list(parts), {}
    for name in TokenScores.__annotations__:
        columns[name] = np.concatenate([getattr(part, name) for part in parts])
    return TokenScores(**columns)


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
