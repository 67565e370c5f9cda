"""Answers side by side: nothing in a text can break the page that it stands on."""

import re

import pytest

from gemma_finetune.reporting.samples import LONGEST, samples


def page(question="Q", reference="R", answer="A", name="chat-1", stopped=True, asked=(True,)):
    turns = [
        {
            "conversation": name,
            "place": 0,
            "asked": flag,
            "question": question,
            "reference": reference,
        }
        for flag in asked
    ]
    answers = [{"text": answer, "tokens": 7, "stopped": stopped}] * sum(asked)
    return samples({"base": {"answers": answers}}, turns, 10)


def test_a_question_stands_with_its_reference_and_answers():
    assert page() == (
        "### 1. `chat-1`\n\nquestion\n\n```text\nQ\n```\n\nreference\n\n```text\nR\n```\n\n"
        "`base`\n\n```text\nA\n```"
    )


def test_an_answer_that_was_cut_off_says_so():
    assert "`base`, cut off after 7 tokens\n" in page(stopped=False)


@pytest.mark.parametrize("text", ["```\n# Title\n```", "a ````` b", "~~~\n</pre>", "`" * 40])
def test_no_text_closes_its_fence(text):
    found = page(answer=text)
    fence = re.findall("^(`{3,})text$", found, re.MULTILINE)[-1]
    inside = found.split(f"{fence}text\n")[-1].removesuffix(f"\n{fence}")
    assert inside == text and fence not in text


def test_control_characters_are_shown_as_unknown():
    found = page(answer="a\x1b[31m\r\nb\u2028c\td\x00", name="x`\n# y")
    assert "a\ufffd[31m\nb\ufffdc\td\ufffd" in found
    assert found.startswith("### 1. `x' # y`\n")


def test_long_texts_are_cut_and_say_so():
    found = page(answer="x" * (LONGEST + 1234))
    assert "x" * LONGEST + " … (1,234 more characters)" in found


def test_only_turns_that_were_asked_are_shown():
    assert page(asked=(False, True, True)).count("### ") == 2
