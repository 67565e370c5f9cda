"""Formatted conversations -> packed batches of numpy arrays. No TensorFlow, no Keras model.

Conversations are packed whole into rows of one length, so that every step has the same compiled
shape and little of it is padding; `segment_ids` keeps attention inside each conversation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from gemma_finetune.formats.chat_template import untrained_answers
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError


class Example(NamedTuple):
    """A tokenized conversation: ids (T,), and which of them the model must learn to say (T,)."""

    ids: np.ndarray
    supervised: np.ndarray


class PackedRows(NamedTuple):
    """N rows of L tokens; S is the largest number of supervised tokens in a row, rounded up.

    token_ids, segment_ids (N, L): segment 0 is padding; 1, 2, ... are the row's conversations.
    positions, labels, weights (N, S): the state at `positions` predicts `labels`; weight 0 is
    padding. numbers (N, C): which of the packed conversations are in the row, counted from 1; 0 is
    padding.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    numbers: np.ndarray


def tokenize(
    rows: Sequence[dict], tokenizer: GemmaTokenizer, sequence_length: int, name: str
) -> list[Example]:
    """Examples of formatted rows {"messages", "text"}; `name` is their file, for messages.

    Not every answer is trained on: a message may say so. UserError if a row is longer than
    `sequence_length`, or if no token or every token is supervised.
    """
    examples = []
    for number, row in enumerate(rows, 1):
        untrained = untrained_answers(row.get("messages", []))
        ids, supervised = tokenizer.encode_conversation(row["text"], untrained)
        if len(ids) > sequence_length:
            raise UserError(
                f"{name}:{number}: {len(ids)} tokens, over train.sequence_length = "
                f"{sequence_length}; raise it, or set data.overlong to drop"
            )
        examples.append(Example(np.array(ids, "int32"), np.array(supervised)))

    fraction = supervised_fraction(examples)
    if not 0 < fraction < 1:
        raise UserError(
            f"{name}: {fraction:.0%} of the tokens are supervised; "
            "the rows lack user or model turns"
        )
    return examples


def supervised_fraction(examples: Sequence[Example]) -> float:
    """Share of all tokens that the loss looks at."""
    tokens = sum(len(example.ids) for example in examples)
    supervised = sum(int(example.supervised.sum()) for example in examples)
    return supervised / max(tokens, 1)


def assign_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit-decreasing bin packing of `lengths`: rows of indices, each within `capacity`."""
    rows: list[list[int]] = []
    rows_with_room: list[list[list[int]]] = [[] for _ in range(capacity + 1)]

    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        room = _least_room(rows_with_room, length)
        if room is None:
            row, room = [], capacity
            rows.append(row)
        else:
            row = rows_with_room[room].pop()
        row.append(index)
        rows_with_room[room - length].append(row)
    return rows


def _least_room(rows_with_room: list[list[list[int]]], length: int) -> int | None:
    """The least room, of at least `length`, that any row has; None if no row has so much."""
    for room in range(length, len(rows_with_room)):
        if rows_with_room[room]:
            return room
    return None


def pack(examples: Sequence[Example], sequence_length: int) -> PackedRows:
    """Packs whole conversations into rows of `sequence_length` tokens.

    Each token is predicted from its own conversation only.
    """
    assigned = assign_rows([len(example.ids) for example in examples], sequence_length)
    rows = [[examples[index] for index in indices] for indices in assigned]

    count, width = len(rows), -(-max(map(_count_predicted, rows)) // 32) * 32
    packed = PackedRows(
        token_ids=np.zeros((count, sequence_length), "int32"),
        segment_ids=np.zeros((count, sequence_length), "int32"),
        positions=np.zeros((count, width), "int32"),
        labels=np.zeros((count, width), "int32"),
        weights=np.zeros((count, width), "float32"),
        numbers=np.zeros((count, max(map(len, rows))), "int32"),
    )
    for number, (row, indices) in enumerate(zip(rows, assigned, strict=True)):
        _fill(packed, number, row)
        packed.numbers[number, : len(row)] = np.add(indices, 1)
    return packed


def _count_predicted(examples: Sequence[Example]) -> int:
    """Supervised tokens, without those that begin a conversation: nothing can predict them."""
    return sum(int(example.supervised[1:].sum()) for example in examples)


def _fill(packed: PackedRows, number: int, examples: Sequence[Example]) -> None:
    """Writes `examples` one after the other into row `number`."""
    start = filled = 0  # tokens and supervised tokens written so far
    for segment, (ids, supervised) in enumerate(examples, 1):
        tokens = slice(start, start + len(ids))
        packed.token_ids[number, tokens] = ids
        packed.segment_ids[number, tokens] = segment

        before = np.flatnonzero(supervised[1:])  # where the token before a supervised one is
        targets = slice(filled, filled + len(before))
        packed.positions[number, targets] = start + before
        packed.labels[number, targets] = ids[before + 1]
        packed.weights[number, targets] = 1.0

        start, filled = tokens.stop, targets.stop


class Batches(keras.utils.PyDataset):
    """Batches of packed rows for `fit`: (inputs, labels, weights).

    They are one epoch, in an order drawn from (seed, epoch), from batch `start` to before `stop`.
    The last batch is filled up with rows of weight 0, so that every step has one shape. `share`
    (n, count): only the n-th of `count` equal parts of each batch.
    """

    def __init__(
        self,
        rows: PackedRows,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 1,
        start: int = 0,
        stop: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(workers=1)
        self.rows, self.batch_size = rows, batch_size
        part, parts = share
        self._share = slice(part * batch_size // parts, (part + 1) * batch_size // parts)

        order = np.arange(len(rows.token_ids))
        if seed is not None:
            order = np.random.default_rng((seed, epoch)).permutation(len(order))
        self._order = order[start * batch_size : None if stop is None else stop * batch_size]

    def __len__(self) -> int:
        return -(-len(self._order) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        token_ids, segment_ids, positions, labels, weights, _ = (
            self._part(field, index) for field in self.rows
        )
        inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "positions": positions}
        return inputs, labels, weights

    def numbers(self, index: int) -> list[int]:
        """Which of the packed conversations, counted from 1, a whole batch holds."""
        numbers = self.rows.numbers[self._rows_of(index)]
        return sorted(set(numbers.ravel().tolist()) - {0})

    def _part(self, field: np.ndarray, index: int) -> np.ndarray:
        """This process's part of a batch of `field`, filled up with zeros."""
        picked = field[self._rows_of(index)]
        missing = self.batch_size - len(picked)
        return np.pad(picked, [(0, missing)] + [(0, 0)] * (field.ndim - 1))[self._share]

    def _rows_of(self, index: int) -> np.ndarray:
        return self._order[index * self.batch_size : (index + 1) * self.batch_size]
