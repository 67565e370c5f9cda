"""Formatted conversations -> token ids, in files that are mapped into memory.

Conversations are tokenized on all cores. No Keras and no JAX here, so that the processes that do it
start fast and stay small.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gemma_finetune.formats.chat_template import untrained_answers
from gemma_finetune.formats.tokenizer import load_tokenizer
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, parse_json_line
from gemma_finetune.utils.parallel import chunks, map_ordered


class Example(NamedTuple):
    """A tokenized conversation: ids (T,), and which of them the model must learn to say (T,)."""

    ids: np.ndarray
    supervised: np.ndarray


class Examples(Sequence[Example]):
    """N tokenized conversations, one after the other in three arrays.

    ids int32 (tokens,), supervised bool (tokens,), lengths int32 (N,).
    """

    FILES = {"ids": np.int32, "supervised": np.bool_, "lengths": np.int32}

    def __init__(self, ids: np.ndarray, supervised: np.ndarray, lengths: np.ndarray) -> None:
        self.ids, self.supervised, self.lengths = ids, supervised, lengths
        self._ends = np.cumsum(lengths, dtype=np.int64)

    @classmethod
    def open(cls, folder: Path) -> "Examples":
        """Maps the files that `tokenize` wrote. ValueError if they are damaged."""
        arrays = {name: _map(folder / name, dtype) for name, dtype in cls.FILES.items()}
        examples = cls(**arrays)
        if not len(examples.ids) == len(examples.supervised) == examples.lengths.sum():
            raise ValueError(f"{folder}: its files do not belong together")
        return examples

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices
        end = self._ends[index]
        tokens = slice(end - self.lengths[index], end)
        return Example(self.ids[tokens], self.supervised[tokens])

    def supervised_fraction(self) -> float:
        """Share of all tokens that the loss looks at."""
        return int(np.count_nonzero(self.supervised)) / max(len(self.ids), 1)


def _map(path: Path, dtype: type) -> np.ndarray:
    if path.stat().st_size == 0:  # cannot be mapped
        return np.zeros(0, dtype)
    # As a plain array: slices of a np.memmap are slow.
    return np.asarray(np.memmap(path, dtype, mode="r"))


def tokenize(source: Path, tokenizer: Path, sequence_length: int, folder: Path) -> Examples:
    """Tokenizes the formatted rows {"messages", "text"} of a JSONL file into files in `folder`.

    An earlier process may have written them: then they are only opened. `folder` must be new for
    other contents of `source`, another tokenizer or another length. Not every answer is trained
    on: a message may say so. UserError if a row is longer than `sequence_length`, or if no token or
    every token is supervised.
    """
    try:
        return Examples.open(folder)
    except (OSError, ValueError):
        pass  # not there, or damaged

    work = partial(tokenize_lines, tokenizer_path=str(tokenizer), sequence_length=sequence_length)
    with open(source, "rb") as file, aside(folder) as temporary:
        placed = ((f"{source}:{number}", line) for number, line in enumerate(file, 1))
        _write(temporary, map_ordered(work, chunks(placed, size=lambda row: len(row[1]))))

        examples = Examples.open(temporary)
        fraction = examples.supervised_fraction()
        if len(examples) and not 0 < fraction < 1:
            raise UserError(
                f"{source}: {fraction:.0%} of the tokens are supervised; "
                "the rows lack user or model turns, or every answer has `train: false`"
            )
    return Examples.open(folder)


def tokenize_lines(
    lines: list[tuple[str, bytes]], tokenizer_path: str, sequence_length: int
) -> Examples:
    """Tokenizes a chunk of formatted rows, as (where it is, JSON line)."""
    tokenizer = load_tokenizer(tokenizer_path)
    all_ids: list[int] = []
    all_supervised: list[bool] = []
    lengths: list[int] = []
    for place, line in lines:
        row = parse_json_line(place, line)
        untrained = untrained_answers(row.get("messages", []))
        ids, supervised = tokenizer.encode_conversation(row["text"], untrained)
        if len(ids) > sequence_length:
            raise UserError(
                f"{place}: {len(ids)} tokens, over train.sequence_length = "
                f"{sequence_length}; raise it, or set data.overlong to drop"
            )
        all_ids += ids
        all_supervised += supervised
        lengths.append(len(ids))
    return Examples(
        np.array(all_ids, np.int32),
        np.array(all_supervised, np.bool_),
        np.array(lengths, np.int32),
    )


def _write(folder: Path, parts: Iterable[Examples]) -> None:
    """Writes the arrays of all parts, one after the other, to the files of `Examples`."""
    folder.mkdir()
    with (
        open(folder / "ids", "wb") as ids,
        open(folder / "supervised", "wb") as supervised,
        open(folder / "lengths", "wb") as lengths,
    ):
        for part in parts:
            ids.write(part.ids.data)
            supervised.write(part.supervised.data)
            lengths.write(part.lengths.data)
