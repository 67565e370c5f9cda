"""The figures of metrics/evaluate.json, from what models/measured/ holds of each rung.

- Figures of logits alone (loss, KL, ...) are taken as they are; a bundle has its `.tflite`'s.
- Figures of answers are means over turns, each with its 95 % interval, and with its change against
  the merged model on the same turns.
- Exact match of a rung with logits is of every scored turn, that of a bundle of the turns asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gemma_finetune.figures.bootstrap import interval
from gemma_finetune.figures.choose import answer_figures
from gemma_finetune.figures.liveness import Answer, count_faults, faults
from gemma_finetune.figures.task import Figures, Task

SHARE, CHANGE = (0.0, 1.0), (-1.0, 1.0)
LENGTH, LENGTH_CHANGE = (0.0, np.inf), (-np.inf, np.inf)


@dataclass(frozen=True)
class Turns:
    """The scored turns, N of them, as models/measured/float.json has them; A of them were asked."""

    records: Sequence[dict]

    @cached_property
    def conversations(self) -> np.ndarray:
        """(N,)"""
        return np.array([turn["conversation"] for turn in self.records])

    @cached_property
    def asked(self) -> np.ndarray:
        """(A,) numbers of turns."""
        return np.flatnonzero([turn["asked"] for turn in self.records])

    @property
    def references(self) -> list[str]:
        """(A,)"""
        return [self.records[number]["reference"] for number in self.asked]


def all_rungs(measured: dict[str, dict], turns: Turns, task: Task) -> dict[str, dict]:
    """{rung: its figures}. `measured`: {rung: its record}, `merged` among them."""
    merged = measured["merged"]
    merged_exact = np.array(merged["exact"], float)  # (N,)
    merged_answers = _values(merged, turns, task) | {"exact_match": merged_exact[turns.asked]}
    asked = turns.conversations[turns.asked]

    found = {}
    for name, record in measured.items():
        twin = measured.get(f"tflite_{name.partition('_')[2]}", record)  # the same model file
        figures = twin["figures"] | record["figures"]
        values = _values(record, turns, task) if "answers" in record else {}
        if "exact" in record:
            values.pop("exact_match", None)
            exact = {"exact_match": np.array(record["exact"], float)}
            figures |= _means(exact, {"exact_match": merged_exact}, turns.conversations)
        figures |= _means(values, merged_answers, asked)
        if "answers" in record:
            figures |= _liveness(_answers(record, twin, turns), turns)
        if "agrees" in record:
            figures |= _runtime(record, asked) | {"sha256": record["sha256"]}
        found[name] = figures
    found["merged"] = {key: f for key, f in found["merged"].items() if "_change" not in key}
    return found


def _values(record: dict, turns: Turns, task: Task) -> Figures:
    """{figure: (A,)}"""
    texts = [answer["text"] for answer in record["answers"]]
    return answer_figures(task, turns.references, texts)


def _means(values: Figures, merged: Figures, conversations: np.ndarray) -> dict[str, float]:
    """The mean of each figure, and its change against the merged model's, with their intervals."""
    figures: dict[str, float] = {}
    for name, ours in values.items():
        bounds = (LENGTH, LENGTH_CHANGE) if name == "answer_length" else (SHARE, CHANGE)
        figures |= _mean(name, ours, conversations, bounds[0])
        figures |= _mean(f"{name}_change", ours - merged[name], conversations, bounds[1])
    return figures


def _mean(
    name: str, values: np.ndarray, conversations: np.ndarray, bounds: tuple[float, float]
) -> dict[str, float]:
    low, high = interval(values, conversations, bounds)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def _answers(record: dict, twin: dict, turns: Turns) -> list[tuple[int, Answer]]:
    """Every answer with the number of its turn: the first ones, and those in chats of their own.

    `twin` has the logits of the same model, which foretell where an answer ends. They know nothing
    of a chat that went another way than the reference's.
    """
    foretold = dict(zip(turns.asked.tolist(), twin["foretold"], strict=True))
    found = []
    for number, answer in zip(turns.asked.tolist(), record["answers"], strict=True):
        found.append((number, _answer(answer, turns.records[number], foretold[number])))
    for answer in record.get("follow_ups", ()):
        number = answer["turn"]
        known = None if answer["same"] is None else foretold[number]
        found.append((number, _answer(answer, turns.records[number], known)))
    return found


def _answer(answer: dict, turn: dict, foretold: int | None) -> Answer:
    return Answer(
        text=answer["text"],
        tokens=answer["tokens"],
        stopped=answer["stopped"],
        first=turn["place"] == 0,
        reference_tokens=turn["tokens"],
        foretold=foretold,
    )


def _liveness(answers: Sequence[tuple[int, Answer]], turns: Turns) -> dict:
    """faulty_answers, faults: see liveness. cut_off: share of answers that a limit ended."""
    conversations = turns.conversations[[number for number, _ in answers]]
    faulty = _column(bool(faults(answer)) for _, answer in answers)
    return {
        **_mean("faulty_answers", faulty, conversations, SHARE),
        "faults": count_faults(answer for _, answer in answers),
        "cut_off": float(_column(not answer.stopped for _, answer in answers).mean()),
    }


def _runtime(record: dict, conversations: np.ndarray) -> dict[str, float]:
    """A runtime's answers beside the logits of its model file, and in a chat of its own.

    runtime_agreement: share of answers that are what greedy decoding of the logits gives.
    follow_up_agreement: share of second answers that are the same in a chat that the runtime holds
      itself as after the reference conversation, among chats whose first answer was the
      reference's; absent if there are none.
    """
    figures = _mean("runtime_agreement", _column(record["agrees"]), conversations, SHARE)
    same = [answer["same"] for answer in record["follow_ups"] if answer["same"] is not None]
    if same:
        figures["follow_up_agreement"] = sum(same) / len(same)
    return figures


def _column(flags: Iterable[bool]) -> np.ndarray:
    return np.array(list(flags), float)
