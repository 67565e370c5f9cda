"""What measuring will take, said before it starts: time, memory and disk.

The rates are those of two cores that do nothing else (benchmarks/README.md); a machine with more is
faster. Answers are as long as their references, or at most as long as they may be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gemma_finetune.evaluation.dataset import TestSet, slice_bytes
from gemma_finetune.utils.machine import check_disk, check_memory, show_bytes

LOAD = 8  # seconds, of a model and its libraries
FLOPS = 80e9  # a second, in a forward pass over whole sequences
DECODE = 12e9  # bytes of weights read a second, where tokens are computed one after the other
COMPARE = 80e6  # logits a second
SLICES = 4  # copies of a slice of logits in memory while two models are compared


@dataclass(frozen=True)
class Work:
    """What is to be computed of a test set.

    passes: bytes of each float32 model that reads whole sequences.
    steps: bytes of each .tflite, which reads all of them for every scored token.
    answers: bytes that each model reads for every token of its answers, or the same in time.
    max_tokens: of an answer.
    memory: bytes of what is in memory at once, slices of logits apart.
    disk: bytes that are written.
    """

    passes: Sequence[float]
    steps: Sequence[float]
    answers: Sequence[float]
    max_tokens: int
    memory: float
    disk: float


def announce(test: TestSet, vocabulary: int, work: Work, folder: Path) -> None:
    """Prints what is measured, and about what it takes. UserError if memory or disk lack it."""
    folder.mkdir(parents=True, exist_ok=True)
    check_disk(folder, work.disk, "measuring", "lower evaluate.max_positions")
    memory = work.memory + SLICES * slice_bytes(vocabulary)
    lengths = [test.turns[number].length for number in test.asked_turns]
    likely = seconds(test, vocabulary, work, sum(lengths))
    longest = seconds(test, vocabulary, work, len(lengths) * work.max_tokens)
    print(
        f"{len(test.conversations)} of {test.found} test conversations: {test.positions:,} "
        f"positions of each model, {len(lengths):,} answers"
    )
    check_memory(
        f"{_time(likely)} on two cores, up to {_time(longest)} if no answer ends before "
        f"evaluate.max_tokens = {work.max_tokens}; "
        f"{show_bytes(work.disk)} of disk, {show_bytes(memory)} of memory",
        memory,
        "measuring",
        "run the stage on a larger machine and `dvc pull` the result here",
    )


def seconds(test: TestSet, vocabulary: int, work: Work, answer_tokens: int) -> float:
    tokens = sum(len(sequence.ids) for sequence in test.sequences)
    models = len(work.passes) + len(work.steps)
    passing = tokens * sum(work.passes) / 4 * 2 / FLOPS  # 2 operations a weight
    stepping = test.positions * sum(work.steps) / DECODE
    comparing = test.positions * vocabulary * models / COMPARE
    answering = answer_tokens * sum(work.answers) / DECODE
    return LOAD * (models + len(work.answers)) + passing + stepping + comparing + answering


def _time(number: float) -> str:
    return f"{number:.0f} seconds" if number < 120 else f"{number / 60:.0f} minutes"
