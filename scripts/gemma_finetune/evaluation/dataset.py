"""The test set as every rung of the ladder sees it: token ids, and the positions to score.

A position is scored if the token after it is the assistant's, or the `<end_of_turn>` of one of its
turns: what training's loss counts, so no answer with `"train": false` is scored. The conversation
before a turn is the reference's own (teacher forcing), so one forward pass scores all its turns.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemma_finetune.formats.chat_template import fold_system, render_prompt, untrained_answers
from gemma_finetune.formats.function_calls import answer_text
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.errors import UserError

SLICE_BYTES = 64 << 20  # of logits held at once
SLICE_ROWS = 256


@dataclass(frozen=True)
class Tokens:
    """One sequence to score: `ids` (T,) int32 with BOS; `positions` (P,) of the logits wanted."""

    ids: np.ndarray
    positions: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """(P,) the token that follows each position."""
        return self.ids[self.positions + 1]

    def slices(self, vocabulary: int) -> Iterator[slice]:
        """The P positions in parts whose logits, (rows, V) float32, take little memory.

        Every model gives its logits in these parts, so that two can be compared side by side.
        """
        rows = slice_bytes(vocabulary) // (4 * vocabulary)
        for start in range(0, len(self.positions), rows):
            yield slice(start, min(start + rows, len(self.positions)))


def slice_bytes(vocabulary: int) -> int:
    """The bytes of a whole slice of logits: of one row at least."""
    return 4 * vocabulary * max(1, min(SLICE_ROWS, SLICE_BYTES // (4 * vocabulary)))


@dataclass(frozen=True)
class Turn:
    """One assistant turn, which is one item of exact match.

    messages: the conversation before it, a system text folded into the first user turn.
    answer: the reference, with its calls as the model writes them.
    labels: (T,) the answer's tokens, and the one that ends its turn or its calls.
    tools: the functions that it may call; None for a base without functions.
    """

    conversation: str
    messages: tuple[dict, ...]
    answer: str
    labels: np.ndarray
    tools: list[Any] | None = None

    @property
    def length(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Conversation:
    id: str
    tokens: Tokens
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    tokens: how many it took; with a stop token, if it ended by itself.
    stopped: whether it did, before the limit.
    """

    text: str
    tokens: int
    stopped: bool


@dataclass(frozen=True)
class FollowUp:
    """A second answer in a chat that the runtime holds itself.

    same_start: whether the first answer was the reference's.
    """

    turn: Turn
    answer: Answer
    same_start: bool


@dataclass(frozen=True)
class TestSet:
    """What is measured.

    conversations: those to score.
    asked: those of them whose answers are generated as well.
    probe: one long sequence, on which only logits are compared.
    found: how many conversations the test split has.
    """

    conversations: Sequence[Conversation]
    asked: Sequence[Conversation]
    probe: Tokens
    found: int

    __test__ = False  # tells pytest that this is not a test class

    @property
    def sequences(self) -> list[Tokens]:
        return [*(c.tokens for c in self.conversations), self.probe]

    @property
    def turns(self) -> list[Turn]:
        return [turn for c in self.conversations for turn in c.turns]

    @property
    def asked_turns(self) -> list[int]:
        """The numbers, among `turns`, of those whose answers are generated."""
        asked = {id(conversation) for conversation in self.asked}
        flags = [id(c) in asked for c in self.conversations for _ in c.turns]
        return [number for number, flag in enumerate(flags) if flag]

    @property
    def positions(self) -> int:
        return sum(len(c.tokens.positions) for c in self.conversations)

    def count_slices(self, vocabulary: int) -> int:
        """In how many slices a model of so many tokens gives its logits."""
        return sum(len(list(tokens.slices(vocabulary))) for tokens in self.sequences)


def select(rows: Sequence, count: int | None) -> list:
    """`count` rows spread evenly over all of them; all rows if `count` is None or larger."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[(2 * i + 1) * len(rows) // (2 * count)] for i in range(count)]


def within(
    conversations: Sequence[Conversation], budget: int | None, size: Callable[[Conversation], int]
) -> list[Conversation]:
    """As many conversations, spread evenly, as have at most `budget` of what `size` counts.

    At least one, however large it is. All of them if `budget` is None.
    """
    chosen = list(conversations)
    while budget is not None and len(chosen) > 1 and (total := sum(map(size, chosen))) > budget:
        chosen = select(conversations, min(len(chosen) - 1, len(chosen) * budget // total) or 1)
    return chosen


def build_test_set(
    rows: Sequence[dict],
    tokenizer: GemmaTokenizer,
    window: int,
    max_positions: int | None = None,
    max_answers: int | None = None,
    found: int | None = None,
) -> TestSet:
    """What is measured of formatted rows, of `found` in all; the probe exceeds the sliding window.

    UserError if no answer of them is scored.
    """
    conversations = [c for c in build(rows, tokenizer) if any(map(_says, c.turns))]
    if not conversations:
        raise UserError(
            "data/formatted/test.jsonl: every answer is empty or has `train: false`, so none can "
            "be scored; mark other rows with `split: test`"
        )
    scored = within(conversations, max_positions, lambda c: len(c.tokens.positions))
    asked = within(scored, max_answers, lambda c: len(c.turns))
    longest = max(len(conversation.tokens.ids) for conversation in scored)
    return TestSet(scored, asked, probe(scored, max(longest, window + 32)), found or len(rows))


def _says(turn: Turn) -> bool:
    return bool(turn.answer.strip())


def build(rows: Sequence[dict], tokenizer: GemmaTokenizer) -> list[Conversation]:
    """Formatted rows {"id", "messages", "text"} as conversations.

    The shortest comes first, so that batches pad little. UserError names a row whose prompts no
    runtime could be given.
    """
    conversations = [_conversation(row, tokenizer) for row in rows]
    return sorted(conversations, key=lambda c: (len(c.tokens.ids), c.id))


def _conversation(row: dict, tokenizer: GemmaTokenizer) -> Conversation:
    tools = row.get("tools")
    messages = fold_system(row["messages"]) if tools is None else row["messages"]
    answers = [place for place, m in enumerate(messages) if m["role"] == "assistant"]
    token_ids, spoken = tokenizer.encode_conversation(row["text"])
    ids = np.array(token_ids, np.int32)  # (T,)
    untrained = untrained_answers(row["messages"])

    turns: list[Turn] = []
    positions = [np.zeros(0, np.int32)]
    for number, (start, end) in enumerate(_spans(spoken)):
        if number in untrained:
            continue
        before, answer = messages[: answers[number]], messages[answers[number]]
        if prompt_ids(before, tokenizer, tools) != token_ids[:start]:
            raise UserError(
                f"test row {row['id']}: the prompt before answer {number + 1} has other token ids "
                "by itself than inside the conversation, so no runtime could be given it; look for "
                "odd spaces or line breaks at the ends of its turns"
            )
        turns.append(Turn(row["id"], tuple(before), answer_text(answer), ids[start:end], tools))
        positions.append(np.arange(start, end, dtype=np.int32) - 1)
    return Conversation(row["id"], Tokens(ids, np.concatenate(positions)), tuple(turns))


def _spans(spoken: Sequence[bool]) -> list[list[int]]:
    """[start, end] of each answer: each run of tokens that the model speaks."""
    padded = np.concatenate([[0], spoken, [0]])
    edges = np.flatnonzero(np.diff(padded))  # start, end, start, end, ...
    return edges.reshape(-1, 2).tolist()


def prompt_ids(
    messages: Sequence[dict], tokenizer: GemmaTokenizer, tools: list[dict] | None = None
) -> list[int]:
    """What a runtime must feed the model: BOS, the conversation, the opened model turn."""
    return [tokenizer.bos, *tokenizer.encode(render_prompt(list(messages), tools))]


def probe(conversations: Sequence[Conversation], length: int, count: int = 16) -> Tokens:
    """Test conversations chained to `length` tokens, of which the last `count` are compared.

    Most chats are shorter than the sliding window; faults of the window and of RoPE show only
    beyond it.
    """
    bos = conversations[0].tokens.ids[:1]
    chain = np.concatenate([c.tokens.ids[1:] for c in conversations])
    ids = np.concatenate([bos, np.resize(chain, length - 1)])  # (length,), repeated if too short
    return Tokens(ids, np.arange(length - count - 1, length - 1, dtype=np.int32))
