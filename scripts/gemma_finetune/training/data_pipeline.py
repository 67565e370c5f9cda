"""Tokenized conversations -> packed batches for `fit`.

Conversations are packed whole into rows of one length, so that every step has the same compiled
shape and little of it is padding; `segment_ids` keeps attention inside each conversation. Rows are
made when a batch needs them: a million conversations take no more memory than their tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gemma_finetune.models.library import keras
from gemma_finetune.training.examples import Example
from gemma_finetune.utils.imports import import_tensorflow

AHEAD = 4  # batches that tf.data makes before they are needed

Batch = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]  # (inputs, labels, weights)


class Rows(NamedTuple):
    """N rows of L tokens; S is the largest number of supervised tokens in a row, rounded up.

    token_ids, segment_ids (N, L): segment 0 is padding; 1, 2, ... are the row's conversations.
    positions, labels, weights (N, S): the state at `positions` predicts `labels`; weight 0 is
    padding, whose positions are past the row, so that none is twice in a row.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class PackedRows:
    """Which conversations are in which row. `make` makes the arrays of rows.

    assigned: for each row, the places of its conversations in `examples`. L and S: as in Rows.
    """

    examples: Sequence[Example]
    assigned: Sequence[Sequence[int]]
    length: int  # L
    width: int  # S

    def __len__(self) -> int:
        return len(self.assigned)

    def make(self, numbers: Sequence[int] | np.ndarray, blank: int = 0) -> Rows:
        """The rows of these numbers, then so many `blank` ones, all padding."""
        count, length, width = len(numbers) + blank, self.length, self.width
        rows = Rows(
            token_ids=np.zeros((count, length), "int32"),
            segment_ids=np.zeros((count, length), "int32"),
            positions=np.tile(length + np.arange(width, dtype="int32"), (count, 1)),
            labels=np.zeros((count, width), "int32"),
            weights=np.zeros((count, width), "float32"),
        )
        for place, number in enumerate(numbers):
            _fill(rows, place, [self.examples[index] for index in self.assigned[number]])
        return rows

    def count_tokens(self) -> int:
        """The tokens of all rows, without padding."""
        return sum(len(self.examples[index].ids) for row in self.assigned for index in row)


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
    lengths, predicted = [], []
    for ids, supervised in examples:
        lengths.append(len(ids))
        # Without the first token of a conversation: nothing can predict it.
        predicted.append(int(np.count_nonzero(supervised[1:])))

    assigned = assign_rows(lengths, sequence_length)
    most = max(sum(map(predicted.__getitem__, row)) for row in assigned)
    return PackedRows(examples, assigned, sequence_length, -(-most // 32) * 32)


def _fill(rows: Rows, number: int, examples: Sequence[Example]) -> None:
    """Writes `examples` one after the other into row `number`."""
    start = filled = 0  # tokens and supervised tokens written so far
    for segment, (ids, supervised) in enumerate(examples, 1):
        tokens = slice(start, start + len(ids))
        rows.token_ids[number, tokens] = ids
        rows.segment_ids[number, tokens] = segment

        before = np.flatnonzero(supervised[1:])  # where the token before a supervised one is
        targets = slice(filled, filled + len(before))
        rows.positions[number, targets] = start + before
        rows.labels[number, targets] = ids[before + 1]
        rows.weights[number, targets] = 1.0

        start, filled = tokens.stop, targets.stop


class Batches(keras.utils.PyDataset):
    """Batches of packed rows, as numpy arrays: (inputs, labels, weights).

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

        order = np.arange(len(rows))
        if seed is not None:
            order = np.random.default_rng((seed, epoch)).permutation(len(order))
        self._order = order[start * batch_size : None if stop is None else stop * batch_size]

    def __len__(self) -> int:
        return -(-len(self._order) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        numbers = self._rows_of(index)[self._share]
        missing = self._share.stop - self._share.start - len(numbers)
        rows = self.rows.make(numbers, blank=missing)
        inputs = {
            "token_ids": rows.token_ids,
            "segment_ids": rows.segment_ids,
            "positions": rows.positions,
        }
        return inputs, rows.labels, rows.weights

    def numbers(self, index: int) -> list[int]:
        """Which of the packed conversations, counted from 1, a whole batch holds."""
        rows = [self.rows.assigned[row] for row in self._rows_of(index)]
        return sorted(conversation + 1 for row in rows for conversation in row)

    def _rows_of(self, index: int) -> np.ndarray:
        return self._order[index * self.batch_size : (index + 1) * self.batch_size]


def as_dataset(batches: Batches) -> Any:
    """The same batches as a `tf.data.Dataset`, which makes the next ones while a step runs.

    `batches` itself where TensorFlow is not installed. The bytes are the same.
    """
    tf = import_tensorflow()
    if tf is None:
        return batches

    def generate() -> Iterator[Batch]:
        for index in range(len(batches)):
            yield batches[index]

    specs = keras.tree.map_structure(
        lambda array: tf.TensorSpec(array.shape, array.dtype), batches[0]
    )
    dataset = tf.data.Dataset.from_generator(generate, output_signature=specs)
    counted = tf.data.experimental.assert_cardinality(len(batches))
    return dataset.apply(counted).prefetch(AHEAD)
