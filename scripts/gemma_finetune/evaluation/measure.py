"""One rung's logits and answers into what models/measured/NAME.json holds of it. Knows no model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemma_finetune.evaluation.dataset import Answer, FollowUp, TestSet, Turn
from gemma_finetune.evaluation.scoring import (
    TokenScores,
    greedy_prefix,
    is_exact,
    join,
    score,
    split,
    split_turns,
    summary,
)
from gemma_finetune.formats.function_calls import render_responses
from gemma_finetune.formats.tokenizer import GemmaTokenizer


@dataclass(frozen=True)
class Outcome:
    """What a rung's logits show.

    figures: loss, perplexity, top1_agreement, kl, max_logit_diff.
    argmax: for each turn (T,), the largest logit at each scored position.
    """

    figures: dict[str, float]
    argmax: list[np.ndarray]


def measure(
    test: TestSet,
    logits: Iterable[np.ndarray],
    reference: Iterable[np.ndarray],
    bar: Callable[[Iterable[TokenScores]], Iterable[TokenScores]] = iter,
) -> Outcome:
    """Scores a rung's logits by the test set and the reference model's.

    logits, reference: the same slices (rows, V) of each sequence. Both models go in lockstep, so
    that only one slice of each is in memory. bar: shows the slices as they are done.
    """
    labels = np.concatenate([tokens.labels for tokens in test.sequences])
    found = join(bar(_score_slices(logits, reference, labels)))
    if len(found.nll) != len(labels):
        raise ValueError(f"every position has logits. Received: {len(found.nll)} of {len(labels)}")

    scores, probe = split(found, test.positions)
    figures = summary(scores)
    figures["max_logit_diff"] = max(figures["max_logit_diff"], float(probe.diff.max()))
    return Outcome(figures, split_turns(scores.argmax, [turn.length for turn in test.turns]))


def _score_slices(
    logits: Iterable[np.ndarray], reference: Iterable[np.ndarray], labels: np.ndarray
) -> Iterator[TokenScores]:
    expected, done = iter(reference), 0
    for values in logits:
        rows = slice(done, done + len(values))
        scores = score(values, labels[rows], next(expected))
        done = rows.stop
        del values  # or it is in memory while the next one is computed
        yield scores


def set_record(test: TestSet, max_tokens: int) -> dict[str, Any]:
    """What was measured: sizes, and each turn's question and reference."""
    asked = set(test.asked_turns)
    turns = []
    for number, turn in enumerate(test.turns):
        turns.append(
            {
                "conversation": turn.conversation,
                "place": sum(message["role"] == "assistant" for message in turn.messages),
                "question": _question(turn),
                "reference": turn.answer,
                "tokens": turn.length,
                "asked": number in asked,
            }
        )
    return {
        "found": test.found,
        "conversations": len(test.conversations),
        "positions": test.positions,
        "max_tokens": max_tokens,
        "turns": turns,
    }


def _question(turn: Turn) -> str:
    """What the answer follows: the user's text, or the results of calls as the model reads them."""
    content = turn.messages[-1]["content"]
    return content if isinstance(content, str) else render_responses(content)


def exact_by_logits(test: TestSet, outcome: Outcome, stop_ids: Sequence[int]) -> list[bool]:
    """For each turn, whether greedy decoding gives the reference."""
    pairs = zip(outcome.argmax, test.turns, strict=True)
    return [is_exact(argmax, turn.labels, stop_ids) for argmax, turn in pairs]


def foretold_stops(test: TestSet, outcome: Outcome, stop_ids: Sequence[int]) -> list[int | None]:
    """For each asked turn, how many tokens its greedy answer has by the logits; None: unknown."""
    found: list[int | None] = []
    for number in test.asked_turns:
        argmax, turn = outcome.argmax[number], test.turns[number]
        ids, whole = greedy_prefix(argmax, turn.labels, stop_ids)
        found.append(len(ids) + 1 if whole else None)
    return found


def answer_records(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return [{"text": a.text, "tokens": a.tokens, "stopped": a.stopped} for a in answers]


def agreements(
    test: TestSet, answers: Sequence[Answer], outcome: Outcome, tokenizer: GemmaTokenizer
) -> list[bool]:
    """Which answers are what greedy decoding of the model file's logits gives, as far as known."""
    found = []
    for answer, number in zip(answers, test.asked_turns, strict=True):
        argmax, turn = outcome.argmax[number], test.turns[number]
        ids, whole = greedy_prefix(argmax, turn.labels, tokenizer.stop_ids)
        found.append(_agrees(answer, ids, whole, tokenizer))
    return found


def _agrees(answer: Answer, ids: list[int], whole: bool, tokenizer: GemmaTokenizer) -> bool:
    """Whether `ids` are the answer (`whole`), or its beginning.

    A character of which `ids` hold only some bytes decodes to U+FFFD and is not compared. Nor is
    what comes after the answer was cut off.
    """
    if not answer.stopped:
        ids, whole = ids[: answer.tokens], whole and len(ids) < answer.tokens
    expected = tokenizer.decode(ids).rstrip("\ufffd")
    if whole:
        return answer.text.strip() == expected.strip()
    return answer.text.lstrip().startswith(expected.lstrip())


def follow_up_records(
    test: TestSet, answers: Sequence[Answer], follow_ups: Sequence[FollowUp]
) -> list[dict[str, Any]]:
    """Second answers, in chats that the runtime held itself.

    same: whether it is what the runtime answers after the reference conversation; None if the first
    answer was not the reference's.
    """
    after_reference = {}
    for answer, number in zip(answers, test.asked_turns, strict=True):
        after_reference[_key(test.turns[number])] = (number, answer.text)

    records = []
    for chat in follow_ups:
        number, text = after_reference[_key(chat.turn)]
        same = chat.answer.text == text if chat.same_start else None
        [record] = answer_records([chat.answer])
        records.append(record | {"turn": number, "same": same})
    return records


def _key(turn: Turn) -> tuple[str, int]:
    return turn.conversation, len(turn.messages)
