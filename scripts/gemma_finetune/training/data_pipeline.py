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

    token_ids, segment_ids (N, L): segment 0 is padding, 1, 2, … are the row's conversations.
    positions, labels, weights (N, S): the hidden state at `positions` predicts `labels`; weight 0
    is filling. numbers (N, C): the row's conversations by their number, from 1, among those packed;
    0 is filling.
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
    """Examples of formatted rows {"messages", "text"}. Not all answers are trained on: see messages.

    UserError if a row is too long, or if none or all tokens are supervised.
    """
    examples = []
    for number, row in enumerate(rows, 1):
        untrained = untrained_answers(row.get("messages", []))
        ids, supervised = tokenizer.encode_conversation(row["text"], untrained)
        if len(ids) > sequence_length:
            raise UserError(
                f"{name}:{number}: {len(ids)} tokens, over train.sequence_length = {sequence_length}; "
                "raise it, or set data.overlong to drop"
            )
        examples.append(Example(np.array(ids, "int32"), np.array(supervised)))
    fraction = supervised_fraction(examples)
    if not 0 < fraction < 1:
        raise UserError(
            f"{name}: {fraction:.0%} of the tokens are supervised; the rows lack user or model turns"
        )
    return examples


def supervised_fraction(examples: Sequence[Example]) -> float:
    """Share of all tokens that the loss looks at."""
    tokens = sum(len(example.ids) for example in examples)
    return sum(int(example.supervised.sum()) for example in examples) / max(tokens, 1)


def assign_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit-decreasing bin packing: indices into `lengths`, grouped so that no group exceeds
    `capacity`.
    """
    rows_with_room: list[list[list[int]]] = [[] for _ in range(capacity + 1)]
    rows = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        room = next((r for r in range(length, capacity + 1) if rows_with_room[r]), None)
        row = rows_with_room[room].pop() if room is not None else []
        if room is None:
            rows.append(row)
        row.append(index)
        rows_with_room[(capacity if room is None else room) - length].append(row)
    return rows


def pack(examples: Sequence[Example], sequence_length: int) -> PackedRows:
    """Whole conversations packed into rows of `sequence_length` tokens; each is predicted within
    itself only.
    """
    rows = assign_rows([len(example.ids) for example in examples], sequence_length)
    most = max(sum(int(examples[i].supervised[1:].sum()) for i in row) for row in rows)
    shape, shape_s = (len(rows), sequence_length), (len(rows), -(-most // 32) * 32)
    packed = PackedRows(
        np.zeros(shape, "int32"),
        np.zeros(shape, "int32"),
        np.zeros(shape_s, "int32"),
        np.zeros(shape_s, "int32"),
        np.zeros(shape_s, "float32"),
        np.zeros((len(rows), max(map(len, rows))), "int32"),
    )
    for number, row in enumerate(rows):
        _fill(packed, number, [examples[i] for i in row])
        packed.numbers[number, : len(row)] = np.add(row, 1)
    return packed


def _fill(packed, number, examples):
    start = filled = 0
    for segment, (ids, supervised) in enumerate(examples, 1):
        packed.token_ids[number, start : start + len(ids)] = ids
        packed.segment_ids[number, start : start + len(ids)] = segment
        targets = np.flatnonzero(supervised[1:])
        where = slice(filled, filled + len(targets))
        packed.positions[number, where] = start + targets
        packed.labels[number, where] = ids[targets + 1]
        packed.weights[number, where] = 1.0
        start, filled = start + len(ids), filled + len(targets)


class Batches(keras.utils.PyDataset):
    """Batches of packed rows for `fit`: (inputs, labels, weights), in an order drawn from (seed,
    epoch).

    One epoch of them, from batch `start` to before `stop`. The epoch's last batch is filled with
    rows of weight 0, so that every step has one shape. `share` (n, count): only the n-th of `count`
    equal parts of each batch.
    """

    def __init__(
        self,
        rows: PackedRows,
        batch_size: int,
        seed: int | None = None,
        epoch=1,
        start=0,
        stop=None,
        share=(0, 1),
    ):
        super().__init__(workers=1)
        self.rows, self.batch_size = rows, batch_size
        part, parts = share
        self._share = slice(part * batch_size // parts, (part + 1) * batch_size // parts)
        count = len(rows.token_ids)
        order = (
            np.arange(count)
            if seed is None
            else np.random.default_rng((seed, epoch)).permutation(count)
        )
        self._order = order[start * batch_size : None if stop is None else stop * batch_size]

    def __len__(self):
        return -(-len(self._order) // self.batch_size)

    def __getitem__(self, index):
        picked = self._picked(index)
        batch = PackedRows(
            *(_fill_up(field[picked], self.batch_size)[self._share] for field in self.rows)
        )
        inputs = {
            "token_ids": batch.token_ids,
            "segment_ids": batch.segment_ids,
            "positions": batch.positions,
        }
        return inputs, batch.labels, batch.weights

    def numbers(self, index: int) -> list[int]:
        """The conversations of a whole batch, by their number among those packed."""
        return sorted(set(self.rows.numbers[self._picked(index)].ravel().tolist()) - {0})

    def _picked(self, index):
        return self._order[index * self.batch_size : (index + 1) * self.batch_size]


def _fill_up(array, count):
    return np.pad(array, [(0, count - len(array))] + [(0, 0)] * (array.ndim - 1))
