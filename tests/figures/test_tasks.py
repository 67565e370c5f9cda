import pytest

from gemma_finetune.figures import text
from gemma_finetune.figures.choose import TASKS, answer_figures, choose

CALLS = ['{"name": "set_light", "on": true}', '{"name": "play"}', "[1, 2]"]
LABELS = ["card_arrival", "lost_card", "exchange_rate", "card arrival date"]
PHRASES = ["For how long is that?", "In which room is that?"] * 3
PROSE = [
    "Plants take in light and turn it into sugar, which they store for later use, by night."
] * 2


@pytest.mark.parametrize(
    ("references", "name"),
    [
        (CALLS, "json"),
        (LABELS, "exact"),
        (PHRASES, "exact"),
        (PROSE, "text"),
        ([CALLS[0], "At what time would that be?"], "text"),  # not all JSON, and nothing repeats
        ([*CALLS * 3, "Sorry, I cannot."], "json"),  # but nearly all
        (["```json\r\n{}\r\n```", "```\n[1]\n```"], "json"),
        (["12", "13"], "exact"),  # numbers are JSON, too, but labels
        (["What a question that is!", "That is what it is."], "text"),
        # Khmer, Burmese and Lao have no spaces,
        (["ខ្ញុំស្រឡាញ់ប្រទេសកម្ពុជា", "អរគុណច្រើន"], "text"),
        (["မြန်မာနိုင်ငံသည် အရှေ့တောင်အာရှ", "ကျေးဇူးတင်ပါတယ်"], "text"),
        (["ສະບາຍດີທຸກຄົນ", "ຂອບໃຈຫຼາຍໆ"], "text"),
        # nor have rare Chinese letters and half-width kana
        (["𠀀𠀁𠀂𠀃𠀄", "ｱｲｳｴｵｶｷｸ"], "text"),
        (["हिन्दी", "बांग्ला"], "exact"),
    ],
)
def test_the_task_is_told_by_the_references(references, name):
    assert choose("auto", references).name == name


@pytest.mark.parametrize("name", ["calls", "exact", "json", "text"])
def test_a_task_can_be_named(name):
    assert choose(name, PROSE).name == name


def test_every_task_scores_one_of_its_figures_from_0_to_1():
    for task in TASKS:
        references = ['{"a": 1}', "x y", "<start_function_call>call:f{}<end_function_call>"]
        found = answer_figures(task, references, ['{"a": 1}', "x z", "Hi"])
        assert all(values.shape == (3,) for values in found.values())
        assert 0 <= found[task.score].min() < found[task.score].max() == 1


def figure(name, reference, answer):
    return answer_figures(choose("json", ()), [reference], [answer])[name][0]


@pytest.mark.parametrize(
    ("reference", "answer", "parsed", "equal"),
    [
        ('{"a": 1, "b": [2]}', ' {"b":[2],\n"a":1.0}', 1, 1),
        ('{"a": 1}', '{"a": true}', 1, 0),
        ('{"a": 1}', '{"a": "1"}', 1, 0),
        ("[1, 2]", "[2, 1]", 1, 0),
        ('{"a": 1}', '{"a": 1', 0, 0),
        ('{"a": 1}', '{"a": NaN}', 0, 0),
        ('{"a": 1}', "[" * 100_000, 0, 0),
        ("In which room?", " In which room?", 1, 1),
        ("In which room?", '{"a": 1}', 0, 0),
        ('```json\n{"a": 1}\n```', '```\n{ "a": 1 }```', 1, 1),
        ('```json\n{"a": 1}\n```', '{"a": 1}', 0, 0),
        ('{"a": 1}', '```json\n{"a": 1}\n```', 0, 0),
    ],
)
def test_json_is_compared_as_values(reference, answer, parsed, equal):
    assert figure("json_parsed", reference, answer) == parsed
    assert figure("json_equal", reference, answer) == equal


def test_text_is_compared_by_words_and_characters_of_any_language():
    references = ["the cat sat on the mat", "кошка сидит дома", "猫が座る", "one", "ab"]
    answers = ["the cat on a mat", "кошка сидит дома", "猫が座る", "", "ac"]
    found = answer_figures(choose("text", ()), references, answers)
    assert found["rouge_l"].tolist() == [pytest.approx(8 / 11), 1, 1, 0, 0]  # 4 words of 6 and of 5
    # Of "ab", half of the single characters and none of the pairs are in "ac".
    assert found["chrf"][1:].tolist() == [1, 1, 0, pytest.approx((1 / 2 + 0) / 2)]
    assert found["answer_length"].tolist() == [16, 16, 4, 0, 2]


@pytest.mark.parametrize(
    ("reference", "answer", "rouge_l"),
    [
        ("राम का घर", "राम की घर", 2 / 3),  # vowels that are marks on a letter
        ("நன்றி நண்பா", "நன்றி தோழா", 1 / 2),
        ("مَرْحَبًا بك", "مَرْحَبًا بكم", 1 / 2),
        ("e\u0301te\u0301", "ete", 0),
        ("I \u2764\ufe0f tea", "I \u2600\ufe0f tea", 1),  # a pictogram is no word
    ],
)
def test_a_word_keeps_the_marks_on_its_letters(reference, answer, rouge_l):
    found = answer_figures(choose("text", ()), [reference], [answer])
    assert found["rouge_l"] == [pytest.approx(rouge_l)]


def test_long_texts_take_no_time(monkeypatch):
    monkeypatch.setattr(text, "MOST_WORDS", 50)
    words = " ".join(map(str, range(20_000)))
    assert answer_figures(choose("text", ()), [words], [words])["rouge_l"] == [1]
