"""Gemma's SentencePiece tokenizer, used the same way by training, evaluation and inference.

SentencePiece alone (no Keras, no transformers): it loads in milliseconds, and it is what the runtimes on a device use.
"""

import re
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from gemma_finetune.config import BOS, END_OF_TURN, EOS, PAD, START_OF_TURN
from gemma_finetune.utils.cli import UserError

# Cuts a rendered conversation where the model begins to speak and where a turn ends.
_BOUNDARY = re.compile(f"({START_OF_TURN}model\n|{END_OF_TURN})")


class GemmaTokenizer:
    """Text to ids and back. Token ids come from the vocabulary; none is written down here.

    `stop_ids` are the ids that end an answer: `<eos>` and `<end_of_turn>`.
    """

    def __init__(self, path: str | Path):
        self._processor = SentencePieceProcessor()
        try:
            self._processor.Load(str(path))
        except (OSError, RuntimeError) as error:
            raise UserError(f"{path}: not a SentencePiece model ({str(error).splitlines()[0]}); run `dvc repro base`")
        self.vocabulary_size = self._processor.GetPieceSize()
        self.pad, self.eos, self.bos = (self._id(piece, path) for piece in (PAD, EOS, BOS))
        self.start_of_turn, self.end_of_turn = (self._id(piece, path) for piece in (START_OF_TURN, END_OF_TURN))
        self.stop_ids = (self.eos, self.end_of_turn)

    def _id(self, piece, path):
        token_id = self._processor.PieceToId(piece)
        if self._processor.IdToPiece(token_id) != piece:
            raise UserError(f"{path}: the vocabulary has no {piece}; this is not a Gemma tokenizer")
        return token_id

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without BOS. Turn markers in `text` become their control ids: validate data first."""
        return self._processor.EncodeAsIds(text)

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`; control pieces decode to nothing."""
        return self._processor.DecodeIds(list(ids))

    def encode_conversation(self, text: str) -> tuple[list[int], list[bool]]:
        """A rendered conversation as (ids, supervised), BOS first; both of the same length.

        `supervised` marks what the model must learn to say: the tokens of every model turn and its
        `<end_of_turn>`. An answer is encoded apart from the prompt before it, as it is at inference.
        """
        ids, supervised, speaking = [self.bos], [False], False
        for part in _BOUNDARY.split(text):
            part_ids = self.encode(part)
            ids += part_ids
            supervised += [speaking] * len(part_ids)
            if part != "":
                speaking = part.startswith(START_OF_TURN) if _BOUNDARY.fullmatch(part) else speaking
        return ids, supervised
