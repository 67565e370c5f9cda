"""One rung's logits and answers into its figures in metrics/evaluate.json. Knows no model and no
file.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gemma_finetune.evaluation.bootstrap import interval
from gemma_finetune.evaluation.dataset import Conversation, Tokens, Turn
from gemma_finetune.evaluation.liveness import Answer, FollowUp, liveness
from gemma_finetune.evaluation.scoring import foretold, is_exact, join, score, split_turns, summary
from gemma_finetune.formats.tokenizer import GemmaTokenizer


@dataclass(frozen=True)
class TestSet:
    """Conversations whose turns are the items of exact match, and one long probe on which only
    logits are compared.
    """

    conversations: Sequence[Conversation]
    probe: Tokens

    __test__ = False  # not a test class, whatever pytest makes of its name

    @property
    def sequences(self) -> list[Tokens]:
        return [*(c.tokens for c in self.conversations), self.probe]

    @property
    def turns(self) -> list[Turn]:
        return [turn for c in self.conversations for turn in c.turns]


@dataclass(frozen=True)
class Outcome:
    """What a rung's logits say. `figures`: loss, perplexity, top1_agreement, kl, max_logit_diff;
    `argmax`: per turn.
    """

    figures: dict[str, float]
    argmax: list[np.ndarray]


def keep(logits: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Every sequence's logits, held in a temporary file: the reference that each rung is compared
    with.
    """
    file, lengths = tempfile.TemporaryFile(), []
    for part in (
        logits
    ):  # written, then mapped: on a full disk a write fails, a map ends Python with SIGBUS
        file.write(np.ascontiguousarray(part, np.float32).data)
        lengths.append(len(part))
    file.flush()
    stored = np.memmap(file, np.float32, "r").reshape(sum(lengths), -1)
    return np.split(stored, np.cumsum(lengths[:-1]))


def measure(
    test: TestSet, logits: Iterable[np.ndarray], reference: Sequence[np.ndarray]
) -> Outcome:
    """Scores a rung's logits, a (P, V) array a sequence, against the test set and the reference
    model's.
    """
    pairs = zip(test.sequences, logits, reference, strict=True)
    *parts, probe = [score(values, tokens.labels, kept) for tokens, values, kept in pairs]
    scores = join(parts)
    figures = summary(scores)
    figures["max_logit_diff"] = max(figures["max_logit_diff"], float(probe.diff.max()))
    return Outcome(figures, split_turns(scores.argmax, [turn.length for turn in test.turns]))


def exact_by_logits(test: TestSet, outcome: Outcome, stop_ids: Sequence[int]) -> np.ndarray:
    """(turns,) bool: which turns greedy decoding gets exactly right."""
    return np.array(
        [is_exact(a, t.labels, stop_ids) for a, t in zip(outcome.argmax, test.turns, strict=True)]
    )


def exact_by_text(test: TestSet, answers: Sequence[Answer]) -> np.ndarray:
    """(turns,) bool: which answers are the reference's text, spaces around it aside."""
    return np.array(
        [a.text.strip() == t.answer.strip() for a, t in zip(answers, test.turns, strict=True)]
    )


def exact_match(test: TestSet, exact: np.ndarray, merged: np.ndarray) -> dict[str, float]:
    """Share of exact turns, and its change against the merged model on paired draws; each with its
    95 % interval.
    """
    change = exact.astype(float) - merged
    return _with_interval(test, "exact_match", exact, (0.0, 1.0)) | _with_interval(
        test, "exact_match_change", change, (-1.0, 1.0)
    )


def _with_interval(test, name, values, bounds):
    low, high = interval(values, [turn.conversation for turn in test.turns], bounds)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


@dataclass(frozen=True)
class Spoken:
    """What a runtime said: to each turn after its reference conversation, and second answers in
    chats of its own.
    """

    answers: Sequence[Answer]
    follow_ups: Sequence[FollowUp]


def runtime(test: TestSet, spoken: Spoken, outcome: Outcome, tokenizer: GemmaTokenizer) -> dict:
    """How a runtime's answers compare with its own model file's logits, `outcome`, and what is
    wrong with them.

    `follow_up_agreement`: share of second answers that are the same in a chat the runtime holds
    itself as after the reference conversation, where the first answers agree; absent where none do.
    """
    agrees = [
        _agrees(answer.text, *foretold(argmax, turn.labels, tokenizer.stop_ids), tokenizer)
        for answer, argmax, turn in zip(spoken.answers, outcome.argmax, test.turns, strict=True)
    ]
    after_reference = {
        id(turn): answer.text for turn, answer in zip(test.turns, spoken.answers, strict=True)
    }
    same = [f.answer.text == after_reference[id(f.turn)] for f in spoken.follow_ups if f.same_start]
    answers = [*spoken.answers, *(f.answer for f in spoken.follow_ups)]
    faults = liveness(answers)
    figures = {
        "runtime_agreement": sum(agrees) / len(agrees),
        "faulty_answers": faults.pop("faulty") / len(answers),
        "faults": faults,
    }
    return figures | ({"follow_up_agreement": sum(same) / len(same)} if same else {})


def _agrees(text, ids, whole, tokenizer):
    """Whether an answer begins (`whole`: is) as foretold. A character cut in its bytes, U+FFFD, is
    not compared.
    """
    expected = tokenizer.decode(ids).rstrip("\ufffd")
    return (
        text.strip() == expected.strip() if whole else text.lstrip().startswith(expected.lstrip())
    )


def rounded(value):
    """Floats to 6 significant digits: what two runs of different thread counts can still agree
    on.
    """
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
