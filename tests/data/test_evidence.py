"""Which text is evidence that a row is a copy, and how similar two rows are by it."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alike import (
    INSTRUCTION,
    SENTENCES,
    chat,
    most_similar,
    shared_text,
    similarity,
)
from gemma_finetune.data.evidence import (
    Evidence,
    compared_shingles,
    evidence_of,
    evidence_similarity,
)
from gemma_finetune.data.shared_text import SHARED_BY, compared_sentences

NONE: frozenset[int] = frozenset()


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


def with_text(question, separator="\n\n"):
    return f"{' '.join(SENTENCES)}{separator}{question}"


@pytest.mark.parametrize(
    ("a", "b", "separator"),
    [
        ("In what year was the bridge built by the duke?",
         "In what year was the bridge burnt by the duke?", " "),
        ("In what year was the bridge built by the duke?",
         "In what year was the bridge burnt by the duke?", "\nQuestion: "),
        ("Answer with the name of the language in English.",
         "Answer with the name of the language in capitals.", "\n\n"),
        ("Hypothesis: The man with the dog sleeps in the park of the town.\nLabel:",
         "Hypothesis: The man with the dog sits in the park of the town.\nLabel:", "\n"),
        ("Give the date of the invoice as one word, or `none` if it does not have it.",
         "Give the total of the invoice as one word, or `none` if it does not have it.", "\n"),
        ("橋は公爵によって何年に建てられましたか？", "橋は公爵によって何年に焼かれましたか？", " "),
        ("هل تم بناء الجسر القديم من قبل الدوق؟", "هل تم حرق الجسر القديم من قبل الدوق؟", " "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("answer", ["No.", "The text does not say anything about that, I fear."])
def test_two_questions_about_one_text_with_one_short_answer_are_not_alike(a, b, separator, answer):
    first, second = (chat(with_text(question, separator), answer) for question in (a, b))
    assert similarity(first, second) == 0
    before = [chat(f"{question}\n{with_text('')}", answer) for question in (a, b)]
    assert similarity(*before) == 0


def test_an_edit_in_the_text_before_one_question_stays_an_edit():
    question = "In what year was the bridge built by the duke?"
    before = chat(with_text(question), "No.")
    after = chat(with_text(question).replace("thing7", "thing"), "No")
    assert similarity(before, after) > 0.9
    assert similarity(before, chat(with_text(f"{question} Say it."), "No.")) > 0.9
    long = " ".join(f"answer{n}" for n in range(20))  # nothing but a copy answers so
    others = (question, question.replace("built", "burnt"))
    assert similarity(*(chat(with_text(text), long) for text in others)) > 0.9


@pytest.mark.parametrize("answers", [("Yes", "No"), ("none", "none")])
def test_questions_of_a_template_about_many_texts_are_not_alike(answers):
    rows = []
    for house in range(SHARED_BY + 1):
        text = " ".join(sentence.replace("thing", f"thing{house}x") for sentence in SENTENCES)
        for n, part in enumerate(["roof", "door", "window"]):
            answer = answers[(house + n) % 2]
            rows.append(chat(f"{text} Say whether the text names the {part} of a house.", answer))
    assert most_similar(rows) < 0.7
    copy = rows[0]["conversations"]
    question = copy[0]["value"].replace("Say whether", "Tell me whether")
    edited = chat(question, copy[1]["value"])
    assert similarity(rows[0], edited, shared_text([*rows, edited])) > 0.9  # of the template itself


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
    sentences = compared_sentences(conversations, shared)
    hashes, offsets = compared_shingles(sentences, shared, len(conversations))
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
