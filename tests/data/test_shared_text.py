"""Text that many rows share, which is no evidence, and where its sentences end."""

import itertools

import pytest

from alike import (
    INSTRUCTION,
    SENTENCES,
    chat,
    most_similar,
    shared_text,
    similarity,
)
from gemma_finetune.data.shared_text import (
    SHARED_BY,
    countable,
    load_shared_text,
    split_sentences,
    tokenize,
)


@pytest.mark.parametrize("separator", ["\n\n", "\n", " "])
@pytest.mark.parametrize("rows", [SHARED_BY + 1, 60])
def test_rows_with_one_long_instruction_are_compared_by_the_rest(separator, rows):
    conversations = []
    for n in range(rows):
        question = f"{INSTRUCTION}{separator}The lid of box {n} came in piece {n * 7}."
        conversations.append(chat(question, ("complaint", "praise")[n % 2]))
    assert most_similar(conversations) < 0.7


@pytest.mark.parametrize(
    ("instruction", "texts"),
    [
        (
            "请根据以下评论判断情感倾向，只回答正面或负面，不要解释，评论来自一个餐厅网站，"
            "请仔细阅读后回答，注意讽刺语气和双重否定！评论：",
            ("很好吃！", "真干净！"),
        ),
        (
            "次の文章を読んで質問に答えてください、回答ははいかいいえだけにしてください、"
            "文章は商品の評価です；評価は良いですか？",
            ("味が良い！", "値段が安い！"),
        ),
        (
            "नीचे दी गई समीक्षा को ध्यान से पढ़ें और बताएं कि यह सकारात्मक है या "
            "नकारात्मक, केवल एक शब्द में उत्तर दें और व्यंग्य पर ध्यान दें। ",
            ("खाना अच्छा।", "जगह साफ है।"),
        ),
        (
            "اقرأ المراجعة التالية بعناية وقل إن كانت إيجابية أو سلبية، أجب بكلمة "
            "واحدة فقط، ولا تشرح، فهي مأخوذة من موقع مطعم وقد تحتوي على لغة عامية "
            "هل هي إيجابية؟ ",
            ("طعام لذيذ؟", "مكان نظيف؟"),
        ),
        (
            "نیچے دیا گیا جائزہ غور سے پڑھیں اور بتائیں کہ یہ مثبت ہے یا منفی، "
            "صرف ایک لفظ میں جواب دیں اور کوئی وضاحت نہ دیں کیونکہ یہ ایک ہوٹل کا ہے۔",
            ("کھانا اچھا۔", "جگہ صاف۔"),
        ),
    ],
)
def test_sentences_of_other_scripts_end_at_their_marks(instruction, texts):
    assert similarity(*(chat(f"{instruction}{text}", "good") for text in texts)) < 0.7


def test_where_sentences_end():
    assert tokenize("好吃！真？“是！”") == ["好", "吃", "!", "真", "?", "是", "!"]
    assert tokenize("是। न॥ لا؟ لا۔ այո։ 12:30 3.5 a:b") == [
        "是", "।", "न", "॥", "لا", "؟", "لا", "۔", "այո", "։", "12", "30", "3", "5", "a", "b",
    ]  # fmt: skip


def test_a_document_in_the_system_text_is_part_of_the_question():
    texts = [" ".join(SENTENCES).replace("thing", f"thing{n}x") for n in range(3)]
    systems = [f"Answer by this document: {text}" for text in texts]
    question = "Is this a complaint?"
    assert most_similar([chat(question, "Yes", system) for system in systems]) < 0.7
    many = [chat(f"{question} {n}", "Yes", system) for system in systems for n in range(30)]
    assert most_similar(many) < 0.9  # each document is in many rows
    edited = chat(question, "Yes", systems[0].replace("part5", "part"))
    assert similarity(chat(question, "Yes", systems[0]), edited) > 0.9
    assert similarity(chat(question, "Yes", systems[0]), chat(question, "Yes")) < 0.1


def test_a_task_in_the_system_texts_of_few_rows_is_part_of_the_question():
    languages = ("German", "Dutch", "Danish")
    rows = [chat("Hotel", "Hotel", f"Translate from English to {name}.") for name in languages]
    assert most_similar(rows) < 0.7


def test_a_system_text_is_no_evidence_that_rows_are_alike():
    rooms = ("hall", "attic", "cellar")
    rows = [chat(f"Turn on the light in the {room} now.", "ok", INSTRUCTION) for room in rooms]
    assert most_similar(rows) <= 0.5  # as without it


def test_a_short_system_text_that_many_rows_share_is_left_out():
    systems = ("You run a smart home.", "Answer in one sentence.")
    rows = [chat(f"question {n} of {n * 7}", "ok", text) for text in systems for n in range(20)]
    shared = shared_text(rows)
    assert similarity(rows[0], rows[20], shared) == 1
    assert similarity(rows[0], chat("question 0 of 0", "ok"), shared) == 1
    assert similarity(rows[0], chat("question 0 of 0", "ok", "You are a pirate."), shared) < 0.7


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
