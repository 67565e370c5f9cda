"""The test set as every rung of the ladder sees it: token ids, and the positions whose next token
is scored.

Scored are the assistant's tokens and their `<end_of_turn>`, on every assistant turn: what
training's loss counts. The conversation before a turn is the reference's own (teacher forcing), so
one forward pass scores all its turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemma_finetune.formats.chat_template import fold_system, render_prompt
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError


@dataclass(frozen=True)
class Tokens:
    """One sequence to score: `ids` (T,) int32 with BOS; `positions` (P,) of the logits wanted."""

    ids: np.ndarray
    positions: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """(P,) the token that follows each position."""
        return self.ids[self.positions + 1]


@dataclass(frozen=True)
class Turn:
    """One assistant turn, an item of exact match: `messages` before it, and the reference
    `answer`.
    """

    conversation: str
    messages: tuple[dict[str, str], ...]
    answer: str
    labels: np.ndarray  # (T,) the answer's tokens and its <end_of_turn>

    @property
    def length(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Conversation:
    id: str
    tokens: Tokens
    turns: tuple[Turn, ...]


def select(rows: Sequence, count: int | None) -> list:
    """`count` rows spread evenly over all of them; all when `count` is None or larger."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def build(rows: Sequence[dict], tokenizer: GemmaTokenizer) -> list[Conversation]:
    """Formatted rows `{"id", "messages", "text"}` as conversations, shortest first (so that batches
    pad little).
    """
    conversations = [_conversation(row, tokenizer) for row in rows]
    return sorted(conversations, key=lambda c: (len(c.tokens.ids), c.id))


def _conversation(row: dict, tokenizer: GemmaTokenizer) -> Conversation:
    name, messages = row["id"], fold_system(row["messages"])
    ids, supervised = (np.array(column) for column in tokenizer.encode_conversation(row["text"]))
    positions = np.flatnonzero(supervised) - 1
    starts = positions[np.diff(positions, prepend=-2) > 1] + 1
    ends = positions[np.diff(positions, append=len(ids) + 1) > 1] + 2
    turns = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        turn = Turn(
            name, tuple(messages[: 2 * k + 1]), messages[2 * k + 1]["content"], ids[start:end]
        )
        if prompt_ids(turn.messages, tokenizer) != ids[:start].tolist():
            raise UserError(
                f"test row {name}: the prompt before answer {k + 1} tokenizes alone otherwise than inside the "
                "conversation, so no runtime could be given it; look for odd spaces or line breaks at its turns' ends"
            )
        turns.append(turn)
    return Conversation(
        name, Tokens(ids.astype(np.int32), positions.astype(np.int32)), tuple(turns)
    )


def prompt_ids(messages: Sequence[dict[str, str]], tokenizer: GemmaTokenizer) -> list[int]:
    """What a runtime must feed the model before it answers: BOS, the conversation, the opened model
    turn.
    """
    return [tokenizer.bos, *tokenizer.encode(render_prompt(list(messages)))]


def probe(conversations: Sequence[Conversation], length: int, count: int = 16) -> Tokens:
    """Test conversations chained to `length` tokens, of which the last `count` are compared.

    Chats are mostly shorter than the sliding window; faults of the window and of RoPE show only
    past it.
    """
    bos = conversations[0].tokens.ids[:1]
    chain = np.concatenate([c.tokens.ids[1:] for c in conversations])
    ids = np.concatenate([bos, np.resize(chain, length - 1)])
    return Tokens(ids, np.arange(length - count - 1, length - 1, dtype=np.int32))
