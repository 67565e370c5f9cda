"""What of two conversations is evidence that one is a copy of the other, and how similar they are.

Questions and answers are compared apart, and two conversations are as similar as the less similar
of the two: the same question with another answer is no duplicate. Text that many rows share is no
evidence: an instruction before every question, a signature after every answer, the frame of a
template. It is left out of a comparison where both rows have it; where only one has it, it is a
difference.

A short system text that many rows share (`You run a smart home.`) is left out. Any other (a
document, a task) is part of the question where it differs, and no evidence where it is the same.

A template that few rows fill cannot be told by counting. So what differs between two rows has to be
alike too: an instruction of 200 words does not make copies of two questions after it. Two sentences
that many rows have each (`Is the roof red?`, `Is the door red?`) are no edits of one another. And
where two rows have one short answer (`No.`), another question about the same text is no edit.

Order counts, and how often a thing is said: sorted lines are no copy of unsorted ones, and "yes,
no" is none of "no, yes".

Calls are part of the answers, responses of the questions. Conversations with functions to call are
only as similar as their sets of functions are. Where other answers are trained on, nothing is a
copy: removing one would lose an answer.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain, groupby, pairwise
from typing import NamedTuple

import numpy as np
from rensa import RMinHash

from gemma_finetune.data.shared_text import (
    ENDS,
    SIDE_OF,
    SIDES,
    Sentences,
    SharedText,
    compared_sentences,
    is_shared,
    tokenize,
)
from gemma_finetune.data.shingles import turn_text
from gemma_finetune.data.tool_rows import to_json

NOTHING: frozenset[int] = frozenset()
# A sentence counts as an edit of another if their words, in order, are at least so similar
# (Jaccard): with one word of six changed they are.
EDITED = 0.7
# Where the other side has at least MANY shingles in common, a different sentence of fewer than
# SHORT words (`Sure!`, `Ticket 7`) does not make a different conversation.
MANY, SHORT = 20, 4
# An answer of at most LABEL words may answer many questions about one text. A question stands in a
# sentence with a question mark, or in one of the first or last OUTER lines, of at most LINE words.
LABEL, OUTER, LINE = 12, 2, 20
QUESTION_MARKS = frozenset("?؟፧")


class Evidence(NamedTuple):
    """A conversation as shingle hashes, in pairs: the user's and the assistant's.

    order: all shingles as they come; whole: the same as sets; shared: those of them in sentences
    that many rows share, and in the frame of a sentence that many rows fill. tools: a hash of each
    function that may be called. untrained: the turns that are not trained on. texts: what was said.
    system: the user's shingles that are in the system text, unless that is left out.
    """

    order: tuple[list[int], list[int]]
    whole: tuple[frozenset[int], frozenset[int]]
    shared: tuple[frozenset[int], frozenset[int]]
    tools: frozenset[int] = NOTHING
    untrained: tuple[int, ...] = ()
    texts: tuple[str, str] = ("", "")
    system: frozenset[int] = NOTHING

    def compared(self) -> frozenset[int]:
        """One set for the search of candidates: what is not shared, or all of a side that is."""
        sides = zip(self.whole, self.shared, strict=True)
        return frozenset().union(*(whole - shared or whole for whole, shared in sides))


def compared_shingles(
    sentences: Sentences, shared: SharedText, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """`Evidence.compared` of `count` conversations, by their `compared_sentences`: uint64 (total,)
    and offsets int64 (count + 1,).
    """
    lengths = np.diff(sentences.starts)
    row_of = np.repeat(sentences.rows, lengths)  # of each shingle
    side_of = row_of * len(SIDES) + np.repeat(sentences.sides, lengths)  # numbers of rows' sides
    own = ~is_shared(sentences, shared)
    has_own = np.bincount(side_of[own], minlength=count * len(SIDES)) > 0
    compared = own | ~has_own[side_of]
    per_row = np.bincount(row_of[compared], minlength=count)
    return sentences.shingles[compared], np.concatenate([[0], np.cumsum(per_row)])


def evidence_of(conversations: list[dict], shared: SharedText) -> list[Evidence]:
    """What each of these canonical conversations is compared by. Many at once are faster."""
    sentences = compared_sentences(conversations, shared)
    lengths = np.diff(sentences.starts)
    row_of = np.repeat(sentences.rows, lengths)  # of each shingle, ascending
    is_gpt = np.repeat(sentences.sides, lengths) == SIDES.index("gpt")
    in_shared = is_shared(sentences, shared)
    in_system = np.repeat(sentences.in_system, lengths)
    starts = np.searchsorted(row_of, np.arange(len(conversations) + 1))

    found = []
    for conversation, (start, end) in zip(conversations, pairwise(starts.tolist()), strict=True):
        shingles, gpt = sentences.shingles[start:end], is_gpt[start:end]
        common = in_shared[start:end]
        order = shingles[~gpt].tolist(), shingles[gpt].tolist()
        whole = frozenset(order[0]), frozenset(order[1])
        shared_sets = _as_set(shingles[~gpt & common]), _as_set(shingles[gpt & common])
        tools, untrained = _tool_hashes(conversation), _untrained(conversation)
        system = _as_set(shingles[in_system[start:end]])
        texts = _side_text(conversation, 0, bool(system)), _side_text(conversation, 1)
        found.append(Evidence(order, whole, shared_sets, tools, untrained, texts, system))
    return found


def _side_text(conversation: dict, side: int, with_system: bool = False) -> str:
    said = [conversation["system"]] if with_system else []
    turns = conversation["conversations"]
    said += [turn_text(turn) for turn in turns if SIDE_OF[turn["from"]] == side]
    return "\n".join(said)


def _untrained(conversation: dict) -> tuple[int, ...]:
    turns = enumerate(conversation["conversations"])
    return tuple(place for place, turn in turns if not turn.get("train", True))


def _tool_hashes(conversation: dict) -> frozenset[int]:
    tools = [to_json(tool) for tool in conversation.get("tools", ())]
    return frozenset(chain.from_iterable(RMinHash.hash_token_sets([tools]))) if tools else NOTHING


def _as_set(hashes: np.ndarray) -> frozenset[int]:
    return frozenset(hashes.tolist())


def evidence_similarity(a: Evidence, b: Evidence, threshold: float = 0) -> float:
    """How similar two conversations are, 0 to 1: on the side on which they are less similar, or by
    their functions if these are less similar.

    Of a side, the Jaccard similarity of its shingles, as a set or in their order, whichever is
    less, without the shared text that both rows have. Shared text that only one row has counts as a
    difference, and so does another order of shared text. 0 where other answers are trained on.
    Where both texts of a side have sentences that the other has not, and these are no edits of one
    another, it is the similarity of these sentences.

    Where it is less than `threshold`, order and sentences are not looked at, which takes the most
    time.
    """
    if a.untrained != b.untrained:
        return 0.0
    if not any(a.whole) and not any(b.whole):
        return 0.0  # no words at all: only equal turns, by `Features.folded`, are copies
    lowest = 1.0
    for side in range(len(SIDES)):
        dropped = a.shared[side] & b.shared[side]
        if side == 0 and a.system == b.system:
            dropped |= a.system
        common = len(a.whole[side] & b.whole[side]) - len(dropped)
        either = len(a.whole[side] | b.whole[side]) - len(dropped)
        lowest = min(lowest, common / either if either else 1.0)
        if lowest >= threshold and a.order[side] != b.order[side]:
            pair = a.order[side], b.order[side]
            lowest = min(lowest, _in_order(*_own(*pair, dropped)))
            lowest = min(lowest, _in_order(*_within_frame(*pair, dropped)))
        if lowest >= threshold and a.texts[side] != b.texts[side]:
            lowest = min(lowest, _of_what_differs(a, b, side))
    if a.tools or b.tools:
        lowest = min(lowest, len(a.tools & b.tools) / len(a.tools | b.tools))
    return lowest


def _of_what_differs(a: Evidence, b: Evidence, side: int) -> float:
    """How similar the sentences are that only one of two texts has; 1 if they may be edits.

    They are edits if their words are alike (EDITED): either all words together, as an edit can cut
    a sentence in two, or each sentence with one of the other text, which may have more of them.
    Two templates are no edits, and neither are two questions with one short answer.

    Sentences of fewer than SHORT words do not count where the other side has much in common.
    """
    other = 1 - side
    ignored = SHORT if len(a.whole[other] & b.whole[other]) >= MANY else 0
    first, second = _sentences(a.texts[side]), _sentences(b.texts[side])
    both = [
        [sentence for sentence in left if len(sentence) >= ignored]
        for left in (first - second, second - first)
    ]
    fewer, more = sorted(both, key=len)
    if not fewer:
        return 1.0  # sentences were only added

    # The templates that only one of the two has.
    left, right = a.shared[side] - b.whole[side], b.shared[side] - a.whole[side]
    least = 1 if ignored else 0  # a sentence of fewer than SHORT words is one shingle
    if len(left) > least and len(right) > least:
        return 0.0
    is_edited_template = bool(left) != bool(right)
    if side == 0 and not is_edited_template and _ask_differently(a, b):
        return 0.0

    alike = _in_order(list(chain(*fewer)), list(chain(*more)))
    if alike >= EDITED or all(_has_edit(sentence, more) for sentence in fewer):
        return 1.0
    return alike


def _ask_differently(a: Evidence, b: Evidence) -> bool:
    """Whether two conversations with one short answer ask two questions about one longer text."""
    answer = [token for token in tokenize(a.texts[1]) if token not in ENDS]
    same = answer == [token for token in tokenize(b.texts[1]) if token not in ENDS]
    if not same or len(answer) > LABEL:
        return False
    first, second = _questions(a.texts[0]), _questions(b.texts[0])
    asked = (
        first - second - _sentences(b.texts[0]).keys(),
        second - first - _sentences(a.texts[0]).keys(),
    )
    if not all(asked):
        return False
    in_common = len((a.whole[0] & b.whole[0]) - (a.shared[0] & b.shared[0]))
    words = max(sum(map(len, questions)) for questions in asked)
    return in_common >= max(MANY, words)


def _questions(text: str) -> set[tuple[str, ...]]:
    """The sentences of a text, as words, that may say what is asked about the rest of it."""
    found = set()
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        tokens = tokenize(f"{line}\n")
        is_short = sum(token not in ENDS for token in tokens) <= LINE
        at_an_end = len(lines) > 1 and not OUTER <= number < len(lines) - OUTER
        words: tuple[str, ...] = ()
        for token in tokens:
            if token not in ENDS:
                words += (token,)
                continue
            if words and (token in QUESTION_MARKS or (at_an_end and is_short)):
                found.add(words)
            words = ()
    return found


def _has_edit(sentence: tuple[str, ...], others: list[tuple[str, ...]]) -> bool:
    return any(_in_order(sentence, other) >= EDITED for other in others)


def _sentences(text: str) -> Counter[tuple[str, ...]]:
    """The sentences of a text as words, without case and punctuation, and how often each comes."""
    runs = groupby(tokenize(text), key=ENDS.__contains__)
    return Counter(tuple(words) for is_end, words in runs if not is_end)


Pair = tuple[list[int], list[int]]


def _own(a: list[int], b: list[int], dropped: frozenset[int]) -> Pair:
    """Both without the shared text that both have."""
    return [s for s in a if s not in dropped], [s for s in b if s not in dropped]


def _within_frame(a: list[int], b: list[int], dropped: frozenset[int]) -> Pair:
    """Both without the shared text that both begin or end with: instructions, signatures."""
    start, left = 0, min(len(a), len(b))
    while start < left and a[start] == b[start] and a[start] in dropped:
        start += 1
    end = 0
    while end < left - start and a[-1 - end] == b[-1 - end] and a[-1 - end] in dropped:
        end += 1
    return a[start : len(a) - end], b[start : len(b) - end]


def _in_order(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """The Jaccard similarity of two sequences: what is common comes in the same order in both.

    The longest common subsequence, bit-parallel: Hyyrö, "Bit-parallel LCS-length computation
    revisited", 2004.
    """
    if not a and not b:
        return 1.0
    start, left = 0, min(len(a), len(b))
    while start < left and a[start] == b[start]:
        start += 1
    end = 0
    while end < left - start and a[-1 - end] == b[-1 - end]:
        end += 1

    places: dict[Hashable, int] = {}  # of each shingle in the middle of b, a bit each
    for place, shingle in enumerate(b[start : len(b) - end]):
        places[shingle] = places.get(shingle, 0) | 1 << place
    every = (1 << (len(b) - start - end)) - 1
    left_over = every  # a bit is cleared where a common subsequence grows
    for shingle in a[start : len(a) - end]:
        found = left_over & places.get(shingle, 0)
        left_over = ((left_over + found) | (left_over - found)) & every
    common = start + end + (every ^ left_over).bit_count()
    return common / (len(a) + len(b) - common)
