"""Which text is evidence that a row is a copy, and how similar two rows are by it."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.evidence import (
    Evidence,
    compared_shingles,
    evidence_of,
    evidence_similarity,
)
from gemma_finetune.data.shared_text import (
    SHARED_BY,
    SharedText,
    SharedTextCounter,
    countable,
    load_shared_text,
    split_sentences,
)

NONE: frozenset[int] = frozenset()
NOTHING_SHARED = SharedText(20, np.zeros(0, np.uint32))
INSTRUCTION = " ".join(f"word{n}" for n in range(200)) + "."


def chat(question, answer="ok"):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns}


def shared_text(conversations):
    sentences = split_sentences(conversations)
    counter = SharedTextCounter(words=len(sentences.shingles))
    counter.add(countable(sentences, counter.bits)[0])
    return counter.shared()


def most_similar(conversations):
    """The highest similarity of any two of these rows, which are the whole data."""
    shared = shared_text(conversations)
    found = evidence_of(conversations, shared)
    pairs = [(a, b) for n, a in enumerate(found) for b in found[:n]]
    return max(evidence_similarity(a, b) for a, b in pairs)


def similarity(a, b, shared=NOTHING_SHARED):
    return evidence_similarity(*evidence_of([a, b], shared))


@pytest.mark.parametrize("separator", ["\n\n", "\n", " "])
@pytest.mark.parametrize("rows", [SHARED_BY + 1, 60])
def test_rows_with_one_long_instruction_are_compared_by_the_rest(separator, rows):
    conversations = []
    for n in range(rows):
        question = f"{INSTRUCTION}{separator}The lid of box {n} came in piece {n * 7}."
        conversations.append(chat(question, ("complaint", "praise")[n % 2]))
    assert most_similar(conversations) < 0.7


@pytest.mark.parametrize("separator", ["\n\n", "\n", " "])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The lid came broken.", "The lid came fine."),
        ("The lid came broken.", "The box came late. It was wet."),
        ("Where is my card?", "How do I close my account?"),
        ("What is 2 + 2?", "What is 17 - 5?"),
    ],
)
def test_two_questions_after_one_instruction_are_not_alike(separator, a, b):
    """Two rows are too few to tell by counting that the instruction is shared."""
    before, after = (chat(f"{INSTRUCTION}{separator}{text}", "complaint") for text in (a, b))
    assert similarity(before, after) < 0.7
    before, after = (chat("hi", f"{text}{separator}{INSTRUCTION}") for text in (a, b))
    assert similarity(before, after) < 0.7


@pytest.mark.parametrize(
    "edited",
    [
        "A day at the sea with friends is good. We swim, we eat and we sleep.",  # a word
        "A day at the sea with friends is fine; we swim. We eat and we sleep",  # punctuation
        "A day at the sea with friends is fine. We swim, we eat and we sleep. And so on.",
        "And so on. A day at sea with friends is fine. We swim, we eat and we sleep.",  # both
        "We swim, we eat and we sleep.",  # a sentence is left out
    ],
)
def test_an_edit_between_equal_sentences_stays_an_edit(edited):
    text = "A day at the sea with friends is fine. We swim, we eat and we sleep."
    for separator in ("\n\n", " "):
        a, b = (chat("hi", f"{INSTRUCTION}{separator}{said}") for said in (text, edited))
        assert similarity(a, b) > 0.9


@pytest.mark.parametrize(
    ("a", "b"),
    [("Sure!", "Certainly!"), ("Ticket 48213.", "Ticket 99120."), ("I am Eve.", "I am Bob.")],
)
def test_another_greeting_before_the_same_long_text_makes_no_other_conversation(a, b):
    before, after = (chat(INSTRUCTION, f"{text} {INSTRUCTION}") for text in (a, b))
    assert similarity(before, after) > 0.9
    before, after = (chat(f"{text} {INSTRUCTION}", INSTRUCTION) for text in (a, b))
    assert similarity(before, after) > 0.9
    before, after = (chat(f"{text} {INSTRUCTION}", "complaint") for text in (a, b))
    assert similarity(before, after) < 0.7  # a label for each


def test_the_same_words_in_another_order_after_one_text_are_another_question():
    a, b = (chat(f"{INSTRUCTION} {text}", "Yes.") for text in ("Did A pay B?", "Did B pay A?"))
    assert similarity(a, b) < 0.7


def test_an_instruction_changes_no_similarity():
    questions = [f"where is my card {n} and when does it come {n % 7}" for n in range(40)]
    plain = [chat(question) for question in questions]
    framed = [chat(f"{INSTRUCTION}\n\n{question}") for question in questions]
    shared = shared_text(framed)
    for n in range(1, 40):
        expected = similarity(plain[0], plain[n], shared_text(plain))
        assert similarity(framed[0], framed[n], shared) == expected


def test_the_frame_of_a_template_is_no_evidence():
    start, end = (" ".join(f"{kind}{n}" for n in range(30)) for kind in ("before", "after"))
    assert most_similar([chat(f"{start} thing{n} {end}", "no") for n in range(30)]) < 0.7


def test_a_signature_after_every_answer_is_no_evidence():
    signature = "We thank you for your patience and wish you a pleasant day, your team in Berlin."
    rows = [chat(f"question {n}", f"Box {n} is in hall {n * 3}.\n\n{signature}") for n in range(30)]
    assert most_similar(rows) < 0.5


def test_two_answers_to_one_question_are_no_duplicates():
    question = INSTRUCTION + " The lid came broken."
    assert similarity(chat(question, "complaint"), chat(question, "praise")) == 0
    assert similarity(chat(question, "complaint"), chat(question, "Complaint!")) == 1


def test_the_same_label_in_every_row_leaves_the_questions_to_decide():
    rows = [chat(f"this is question {n} about thing {n}", "complaint") for n in range(30)]
    assert most_similar(rows) < 0.9
    assert most_similar([*rows, chat("This is question 3, about thing 3!", "complaint")]) == 1


def test_another_instruction_before_the_same_text_is_a_difference():
    texts = [f"text {n} has these {n * 3} words and some others {n * 11}." for n in range(30)]
    first = "Say in one word whether the customer is happy."
    second = "Say in one word whether this is about money."
    rows = [chat(f"{first}\n{text}", "no") for text in texts]
    assert most_similar(rows + [chat(f"{second}\n{text}", "no") for text in texts]) < 0.9


def test_an_edited_copy_stays_a_near_duplicate():
    rng = random.Random(0)
    words = [f"word{rng.randrange(1000)}" for _ in range(100)]
    edited = [*words[:50], "other", *words[51:]]
    a, b = chat(" ".join(words), "yes it is"), chat(" ".join(edited).upper(), "Yes, it is.")
    assert similarity(a, b) == pytest.approx(95 / 101)


def test_a_sentence_added_left_out_or_moved():
    sentences = [f"One{n} two{n} three{n} four{n} five{n}." for n in range(40)]
    text = " ".join(sentences)
    assert similarity(chat(text), chat(" ".join(sentences[:20] + sentences[21:]))) == 117 / 120
    assert similarity(chat(text), chat(" ".join([*sentences, "And so on it goes."]))) == 120 / 123
    moved = " ".join([*sentences[30:], *sentences[:30]])
    assert similarity(chat(text), chat(moved)) == 90 / 150


def test_a_repeated_line_more_is_a_small_difference():
    lines = [f"value{n} is read from file{n}.\nreturn nothing at all" for n in range(40)]
    more = ["return nothing at all", *lines]
    assert similarity(chat("\n".join(lines)), chat("\n".join(more))) > 0.98


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_order_is_compared_by_the_longest_common_subsequence(a, b):
    longest = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, j in itertools.product(range(len(a)), range(len(b))):
        skipped = max(longest[i][j + 1], longest[i + 1][j])
        longest[i + 1][j + 1] = longest[i][j] + 1 if a[i] == b[j] else skipped
    common = longest[-1][-1]
    either = len(a) + len(b) - common
    rows = [Evidence((side, []), (frozenset(side), frozenset()), (NONE, NONE)) for side in (a, b)]
    sets = len(set(a) & set(b)) / max(len(set(a) | set(b)), 1)
    expected = min(sets, common / either) if a or b else 0
    assert evidence_similarity(*rows) == (expected if a and b else 0)


def test_the_order_of_text_that_many_rows_share_counts():
    lines = [f"Step{n} of a recipe that all of them have." for n in range(4)]
    rows = [chat("\n".join(order), "ok") for order in itertools.permutations(lines)]
    assert most_similar(rows) < 0.9


def test_copies_of_one_row_do_not_make_its_text_shared(tmp_path):
    """They are counted once: scripts/dedup.py adds rows with new text only."""
    sentences = split_sentences([chat("one two three four five")] * 50)
    prefixes, rows = countable(sentences, 20)
    assert len(prefixes[rows == 0]) == 2  # one for the question, one for the answer


def test_shared_text_is_saved_and_loaded(tmp_path):
    shared = shared_text([chat(f"{INSTRUCTION} {n}") for n in range(20)])
    shared.save(tmp_path / "shared_text.npz")
    loaded = load_shared_text(str(tmp_path / "shared_text.npz"))
    hashes = split_sentences([chat(INSTRUCTION)]).shingles
    assert (
        loaded.holds(hashes).tolist() == shared.holds(hashes).tolist()
        and shared.holds(hashes).any()
    )


def test_punctuation_alone_is_a_word():
    assert similarity(chat("Is it?", "..."), chat("Is it?", "...")) == 1
    assert similarity(chat("Is it?", "..."), chat("Is it?", "?!")) == 0
    assert similarity(chat("", ""), chat("", "")) == 0


words = st.lists(st.sampled_from("light heat room on off. ten!".split()), max_size=12).map(" ".join)
chats = st.lists(st.builds(chat, words, words), min_size=1, max_size=15)


@settings(derandomize=True, deadline=None)
@given(chats, st.integers(0, 3))
def test_a_chunk_gives_the_sets_that_its_rows_give(conversations, copies):
    shared = shared_text(conversations * (1 + 4 * copies))
    hashes, offsets = compared_shingles(split_sentences(conversations), shared, len(conversations))
    for n, conversation in enumerate(conversations):
        found = frozenset(hashes[offsets[n] : offsets[n + 1]].tolist())
        assert found == evidence_of([conversation], shared)[0].compared()


@settings(derandomize=True, deadline=None)
@given(chats)
def test_similarity_is_symmetric_and_1_for_itself(conversations):  # 0 where nothing is said
    found = evidence_of(conversations, shared_text(conversations))
    for a in found:
        assert evidence_similarity(a, a) == (1 if any(a.whole) else 0)
        for b in found:
            assert 0 <= evidence_similarity(a, b) == evidence_similarity(b, a) <= 1
