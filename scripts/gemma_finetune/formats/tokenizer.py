"""Gemma's SentencePiece tokenizer, used the same way by training, evaluation and inference.

It needs SentencePiece alone, not Keras or transformers: it loads in milliseconds, and it is what
the runtimes on a device use. Text is encoded word by word where the vocabulary shows that this
gives the same ids, and the ids of a word are remembered.
"""

import re
from collections.abc import Collection, Iterable
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

from gemma_finetune.config import (
    BOS,
    END_CALL,
    END_OF_TURN,
    END_RESPONSE,
    EOS,
    FUNCTION_PIECES,
    PAD,
    START_OF_TURN,
    START_RESPONSE,
)
from gemma_finetune.utils.errors import UserError

SPACE = "\u2581"  # how the pieces of a vocabulary write a space
MOST_WORDS, LONGEST_WORD = 1 << 16, 32  # of those remembered: about 20 MB

# Cuts a rendered conversation where the model begins to speak and where it ends.
_BOUNDARY = re.compile(f"({START_OF_TURN}model\n|{END_OF_TURN})")
# With function calls it also begins after the last response, and ends after the last call.
_FUNCTION_BOUNDARY = re.compile(
    f"({START_OF_TURN}model\n|{END_OF_TURN}|(?<={END_CALL}){START_RESPONSE}"
    f"|{END_RESPONSE}(?!{START_RESPONSE}))"
)
_ENDS = (END_OF_TURN, START_RESPONSE)


class _WordIds(dict[str, list[int]]):
    """{word: ids of a space and the word}, filled on demand and emptied when it is full."""

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
    """Matches the spaces before which text can be cut without changing its ids, or None.

    BPE merges neighbours into a longer piece, so a cut changes nothing if no piece of the
    vocabulary reaches across it. Gemma's pieces begin with their space, except for a few such as
    `>\u2581</`: text is not cut after `>`, nor within a run of spaces.
    """
    proto = ModelProto.FromString(model)
    pieces = [piece.piece for piece in proto.pieces]
    if SPACE not in pieces or not _keeps_text(proto):
        return None
    before = {SPACE, " "}
    for piece in pieces:
        if SPACE in piece[1:] or " " in piece[1:]:
            before.update(re.findall(f"(.)[ {SPACE}]", piece, re.DOTALL))
    return re.compile(f" (?<![{re.escape(''.join(sorted(before)))}] )")


def _keeps_text(proto: ModelProto) -> bool:
    """Whether this is a BPE vocabulary that only changes how the spaces of a text are written."""
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    return (
        trainer.model_type == trainer.BPE
        and normalizer.escape_whitespaces
        and not normalizer.precompiled_charsmap
        and not normalizer.add_dummy_prefix
        and not normalizer.remove_extra_whitespaces
    )


class GemmaTokenizer:
    """Text to ids and back. All token ids come from the vocabulary.

    `stop_ids` are the ids that end an answer: `<eos>` and `<end_of_turn>`, and the start of a
    response where the vocabulary has the pieces of function calls (`has_functions`).
    UserError if the file is not a SentencePiece model or not Gemma's; `remedy` says what to do.
    """

    def __init__(self, path: str | Path, remedy: str = "run `dvc repro base`"):
        self._processor = SentencePieceProcessor()
        self._words = _WordIds(self._processor)
        try:
            self._processor.Load(str(path))
        except (OSError, RuntimeError, ValueError) as error:  # ValueError: the message is not UTF-8
            raise UserError(
                f"{path}: not a SentencePiece model ({str(error).splitlines()[0]}); {remedy}"
            )
        self.vocabulary_size = self._processor.GetPieceSize()
        try:
            self.pieces()
        except UnicodeDecodeError:
            raise UserError(f"{path}: damaged, a piece is not UTF-8; {remedy}")
        if self._processor.unk_id() < 0:
            raise UserError(f"{path}: damaged, no piece for unknown text; {remedy}")
        self.pad = self._id(PAD, path)
        self.eos = self._id(EOS, path)
        self.bos = self._id(BOS, path)
        self.start_of_turn = self._id(START_OF_TURN, path)
        self.end_of_turn = self._id(END_OF_TURN, path)
        self.stop_ids: tuple[int, ...] = (self.eos, self.end_of_turn)

        # FunctionGemma's vocabulary has one id for each piece; any other splits them into text.
        self.has_functions = all(map(self._holds, FUNCTION_PIECES))
        self.function_ids: dict[str, int] = {}
        if self.has_functions:
            self.function_ids = {piece: self._id(piece, path) for piece in FUNCTION_PIECES}
            self.stop_ids = (*self.stop_ids, self.function_ids[START_RESPONSE])

    def stop_pieces(self) -> tuple[str, ...]:
        """The pieces that end an answer."""
        return tuple(self._processor.IdToPiece(token_id) for token_id in self.stop_ids)

    def _holds(self, piece: str) -> bool:
        return self._processor.IdToPiece(self._processor.PieceToId(piece)) == piece

    def _id(self, piece: str, path: str | Path) -> int:
        token_id = self._processor.PieceToId(piece)
        if not self._holds(piece):
            raise UserError(f"{path}: the vocabulary has no {piece}; this is not a Gemma tokenizer")
        return token_id

    def pieces(self) -> list[str]:
        """The whole vocabulary: the piece of each id."""
        return [self._processor.IdToPiece(i) for i in range(self.vocabulary_size)]

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without BOS.

        Turn markers in `text` become control ids, so data must be validated before.
        """
        if self._boundary is None:
            return self._processor.EncodeAsIds(text)
        first, *words = self._boundary.split(text)
        ids = self._processor.EncodeAsIds(first)
        # for word in words: ids += self._words[word]
        ids.extend(chain.from_iterable(map(self._words.__getitem__, words)))
        return ids

    @cached_property
    def _boundary(self) -> re.Pattern | None:
        return _word_boundary(self._processor.serialized_model_proto())

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`. Control pieces decode to nothing."""
        return self._processor.DecodeIds(list(ids))

    def encode_conversation(
        self, text: str, untrained: Collection[int] = ()
    ) -> tuple[list[int], list[bool]]:
        """A rendered conversation as (ids, supervised), BOS first; both have the same length.

        `supervised` marks the tokens that the model must learn to generate: those of every model
        turn, and its `<end_of_turn>`; calls, and the `<start_function_response>` after them. An
        answer is encoded apart from the prompt before it, as at inference. `untrained`: the places,
        among the answers, of those that are not supervised.
        """
        boundary = _FUNCTION_BOUNDARY if self.has_functions else _BOUNDARY
        ids, supervised, speaking, answers = [self.bos], [False], False, 0
        # A text, a boundary, a text, a boundary, ... and a text.
        for place, part in enumerate(boundary.split(text)):
            part_ids = self.encode(part)
            ids += part_ids
            opens = place % 2 == 1 and part not in _ENDS
            # What ends an answer belongs to it. What opens one does not.
            supervised += [speaking and not opens] * len(part_ids)
            if place % 2 == 1:
                speaking = opens and answers not in untrained
                answers += opens
        return ids, supervised


load_tokenizer = lru_cache(GemmaTokenizer)  # once in each process
