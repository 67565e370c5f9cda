"""Gemma's SentencePiece tokenizer, used the same way by training, evaluation and inference.

SentencePiece alone (no Keras, no transformers): it loads in milliseconds, and it is what the
runtimes on a device use. Text is encoded word by word where the vocabulary shows that this gives
the same ids, and a word is encoded once.
"""

import re
from functools import cached_property
from itertools import chain
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

from gemma_finetune.config import BOS, END_OF_TURN, EOS, PAD, START_OF_TURN
from gemma_finetune.utils.cli import UserError

SPACE = "\u2581"  # in the pieces of a vocabulary
MOST_WORDS, LONGEST_WORD = 1 << 16, 32  # remembered: about 20 MB

# Cuts a rendered conversation where the model begins to speak and where a turn ends.
_BOUNDARY = re.compile(f"({START_OF_TURN}model\n|{END_OF_TURN})")


class _WordIds(dict):
    """word -> ids of a space and the word; asks SentencePiece once, and begins anew when it is
    full.
    """

    def __init__(self, processor: SentencePieceProcessor):
        self._processor = processor

    def __missing__(self, word: str) -> list[int]:
        ids = self._processor.EncodeAsIds(f" {word}")
        if len(word) <= LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids


def _word_boundary(model: bytes) -> re.Pattern | None:
    """Matches the spaces before which text may be cut with no change of ids; None where that is not
    sure of any.

    BPE merges neighbours into a longer piece: a cut changes nothing where no piece of the
    vocabulary reaches across. Gemma's pieces begin with their space, but for a few such as
    `>\u2581</`: after `>`, as in a run of them, no cut.
    """
    proto = ModelProto.FromString(model)
    trainer, normalizer, pieces = (
        proto.trainer_spec,
        proto.normalizer_spec,
        [piece.piece for piece in proto.pieces],
    )
    changes_text = (
        normalizer.precompiled_charsmap
        or normalizer.add_dummy_prefix
        or normalizer.remove_extra_whitespaces
    )
    if (
        trainer.model_type != trainer.BPE
        or changes_text
        or not normalizer.escape_whitespaces
        or SPACE not in pieces
    ):
        return None
    with_inner_space = [piece for piece in pieces if SPACE in piece[1:] or " " in piece[1:]]
    before = {SPACE, " "}.union(
        *(re.findall(f"(.)[ {SPACE}]", piece, re.DOTALL) for piece in with_inner_space)
    )
    return re.compile(f" (?<![{re.escape(''.join(sorted(before)))}] )")


class GemmaTokenizer:
    """Text to ids and back. Token ids come from the vocabulary; none is written down here.

    `stop_ids` are the ids that end an answer: `<eos>` and `<end_of_turn>`.
    """

    def __init__(self, path: str | Path):
        self._processor = SentencePieceProcessor()
        self._words = _WordIds(self._processor)
        try:
            self._processor.Load(str(path))
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # a ValueError where its message is no text
            raise UserError(
                f"{path}: not a SentencePiece model ({str(error).splitlines()[0]}); run `dvc repro base`"
            )
        self.vocabulary_size = self._processor.GetPieceSize()
        self.pad, self.eos, self.bos = (self._id(piece, path) for piece in (PAD, EOS, BOS))
        self.start_of_turn, self.end_of_turn = (
            self._id(piece, path) for piece in (START_OF_TURN, END_OF_TURN)
        )
        self.stop_ids = (self.eos, self.end_of_turn)

    def _id(self, piece, path):
        token_id = self._processor.PieceToId(piece)
        if self._processor.IdToPiece(token_id) != piece:
            raise UserError(f"{path}: the vocabulary has no {piece}; this is not a Gemma tokenizer")
        return token_id

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without BOS. Turn markers in `text` become their control ids: validate
        data first.
        """
        if self._boundary is None:
            return self._processor.EncodeAsIds(text)
        first, *words = self._boundary.split(text)
        return [
            *self._processor.EncodeAsIds(first),
            *chain.from_iterable(map(self._words.__getitem__, words)),
        ]

    @cached_property
    def _boundary(self):
        return _word_boundary(self._processor.serialized_model_proto())

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`; control pieces decode to nothing."""
        return self._processor.DecodeIds(list(ids))

    def encode_conversation(self, text: str) -> tuple[list[int], list[bool]]:
        """A rendered conversation as (ids, supervised), BOS first; both of the same length.

        `supervised` marks what the model must learn to say: the tokens of every model turn and its
        `<end_of_turn>`. An answer is encoded apart from the prompt before it, as it is at
        inference.
        """
        ids, supervised, speaking = [self.bos], [False], False
        for part in _BOUNDARY.split(text):
            part_ids = self.encode(part)
            ids += part_ids
            supervised += [speaking] * len(part_ids)
            if part != "":
                speaking = part.startswith(START_OF_TURN) if _BOUNDARY.fullmatch(part) else speaking
        return ids, supervised
