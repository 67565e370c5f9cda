"""One rung's logits and answers into its figures in metrics/evaluate.json.

Knows no model, and no file but one temporary.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemma_finetune.evaluation import call_figures
from gemma_finetune.evaluation.bootstrap import interval
from gemma_finetune.evaluation.dataset import Conversation, Tokens, Turn
from gemma_finetune.evaluation.liveness import Answer, FollowUp, liveness
from gemma_finetune.evaluation.scoring import (
    greedy_prefix,
    is_exact,
    join,
    score,
    split_turns,
    summary,
)
from gemma_finetune.formats.tokenizer import GemmaTokenizer


@dataclass(frozen=True)
class TestSet:
    """Conversations to score, and one long probe on which only logits are compared."""

    conversations: Sequence[Conversation]
    probe: Tokens

    __test__ = False  # tells pytest that this is not a test class

    @property
    def sequences(self) -> list[Tokens]:
        return [*(c.tokens for c in self.conversations), self.probe]

    @property
    def turns(self) -> list[Turn]:
        return [turn for c in self.conversations for turn in c.turns]


@dataclass(frozen=True)
class Outcome:
    """What a rung's logits show.

    figures: loss, perplexity, top1_agreement, kl, max_logit_diff.
    argmax: for each turn (T,), the largest logit at each scored position.
    """

    figures: dict[str, float]
    argmax: list[np.ndarray]


@dataclass(frozen=True)
class RuntimeAnswers:
    """What a runtime answered.

    answers: one a turn, each after the reference conversation before it.
    follow_ups: second answers, in chats that the runtime held itself.
    """

    answers: Sequence[Answer]
    follow_ups: Sequence[FollowUp]


def keep(logits: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Holds every sequence's logits in a temporary file: each rung is compared with them."""
    file, lengths = tempfile.TemporaryFile(), []
    # The file is written first and mapped then: if the disk is full, a write raises an error, where
    # a map would end Python with SIGBUS.
    for part in logits:
        file.write(np.ascontiguousarray(part, np.float32).data)
        lengths.append(len(part))
    file.flush()
    stored = np.memmap(file, np.float32, "r").reshape(sum(lengths), -1)  # (all positions, V)
    return np.split(stored, np.cumsum(lengths[:-1]))


def measure(
    test: TestSet, logits: Iterable[np.ndarray], reference: Sequence[np.ndarray]
) -> Outcome:
    """Scores a rung's logits, (P, V) a sequence, by the test set and the reference model's."""
    parts = []
    for tokens, values, expected in zip(test.sequences, logits, reference, strict=True):
        parts.append(score(values, tokens.labels, expected))
    *parts, probe = parts
    scores = join(parts)
    figures = summary(scores)
    figures["max_logit_diff"] = max(figures["max_logit_diff"], float(probe.diff.max()))
    return Outcome(figures, split_turns(scores.argmax, [turn.length for turn in test.turns]))


def exact_by_logits(test: TestSet, outcome: Outcome, stop_ids: Sequence[int]) -> np.ndarray:
    """(turns,) bool: the turns for which greedy decoding gives the reference."""
    pairs = zip(outcome.argmax, test.turns, strict=True)
    return np.array([is_exact(argmax, turn.labels, stop_ids) for argmax, turn in pairs])


def exact_by_text(test: TestSet, answers: Sequence[Answer]) -> np.ndarray:
    """(turns,) bool: the answers that are the reference's text, apart from the space around it."""
    pairs = zip(answers, test.turns, strict=True)
    return np.array([answer.text.strip() == turn.answer.strip() for answer, turn in pairs])


def exact_match(test: TestSet, exact: np.ndarray, merged: np.ndarray) -> dict[str, float]:
    """Share of exact turns, and its change against the merged model, each with its 95 % interval.

    exact, merged: (turns,) bool, of the rung and of the merged model.
    """
    change = exact.astype(float) - merged
    return {
        **_with_interval(test, "exact_match", exact, (0.0, 1.0)),
        **_with_interval(test, "exact_match_change", change, (-1.0, 1.0)),
    }


def call_shares(test: TestSet, answers: Sequence[Answer]) -> dict[str, float]:
    """The figures of function calls; none where no reference has a call."""
    references = [turn.answer for turn in test.turns]
    if not call_figures.has_calls(references):
        return {}
    found = call_figures.figures(references, [answer.text for answer in answers])
    return {name: float(values.mean()) for name, values in found.items()}


def _with_interval(
    test: TestSet, name: str, values: np.ndarray, bounds: tuple[float, float]
) -> dict[str, float]:
    low, high = interval(values, [turn.conversation for turn in test.turns], bounds)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def runtime(
    test: TestSet, answered: RuntimeAnswers, outcome: Outcome, tokenizer: GemmaTokenizer
) -> dict:
    """A runtime's answers compared with the logits of its model file, and what is wrong with them.

    runtime_agreement: share of answers that are what greedy decoding of the logits gives.
    follow_up_agreement: share of second answers that are the same in a chat that the runtime holds
      itself as after the reference conversation, among chats whose first answer was the
      reference's; absent if there are none.
    faulty_answers, faults: see liveness.
    """
    agreeing, after_reference = 0, {}
    for answer, argmax, turn in zip(answered.answers, outcome.argmax, test.turns, strict=True):
        ids, whole = greedy_prefix(argmax, turn.labels, tokenizer.stop_ids)
        agreeing += _agrees(answer.text, ids, whole, tokenizer)
        after_reference[turn.conversation, len(turn.messages)] = answer.text

    same = []
    for chat in answered.follow_ups:
        if chat.same_start:
            expected = after_reference[chat.turn.conversation, len(chat.turn.messages)]
            same.append(chat.answer.text == expected)

    answers = [*answered.answers, *(chat.answer for chat in answered.follow_ups)]
    faults = liveness(answers)
    figures: dict[str, Any] = {
        "runtime_agreement": agreeing / len(answered.answers),
        "faulty_answers": faults.pop("faulty") / len(answers),
        "faults": faults,
    }
    if same:
        figures["follow_up_agreement"] = sum(same) / len(same)
    return figures


def _agrees(text: str, ids: list[int], whole: bool, tokenizer: GemmaTokenizer) -> bool:
    """Whether `ids` are the answer (`whole`), or its beginning.

    A character of which `ids` hold only some bytes decodes to U+FFFD and is not compared.
    """
    expected = tokenizer.decode(ids).rstrip("\ufffd")
    if whole:
        return text.strip() == expected.strip()
    return text.lstrip().startswith(expected.lstrip())


def rounded(value: Any) -> Any:
    """Floats to 6 significant digits, which runs on different numbers of threads agree on."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
