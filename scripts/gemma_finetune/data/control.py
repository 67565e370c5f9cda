"""Gemma's control pieces, which content must never hold: as text they would become control tokens (an injection)."""

import re

from gemma_finetune.config import BOS, END_OF_TURN, EOS, PAD, START_OF_TURN, UNK

# The pieces of Gemma 3's vocabulary that are not text. Kept here because data is checked before any tokenizer is
# there; the format stage checks again that each text has as many turn tokens as it has turns.
CONTROL_PIECES = (
    PAD, EOS, BOS, UNK, START_OF_TURN, END_OF_TURN,
    "<mask>", "[multimodal]", "<start_of_image>", "<end_of_image>", "<image_soft_token>",
)  # fmt: skip
_CONTROL = re.compile("|".join(map(re.escape, CONTROL_PIECES)) + r"|<unused\d+>")


def find_control(text: str) -> str | None:
    """The first control piece in `text`, or None."""
    found = _CONTROL.search(text)
    return found and found.group()
