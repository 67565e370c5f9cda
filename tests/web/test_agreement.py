"""web_agreement.py in both browsers, and how it counts."""

import json
import sys

import pytest

import web_agreement
from gemma_finetune.web.firefox import find_firefox

pytestmark = pytest.mark.slow

NO_FIREFOX = pytest.mark.skipif(find_firefox() is None, reason="Firefox is not installed")


@pytest.mark.browser
@pytest.mark.parametrize(
    "options", [[], pytest.param(["--firefox"], marks=NO_FIREFOX)], ids=["chromium", "firefox"]
)
def test_a_full_context_ends_its_conversation_and_no_more(
    options, tmp_path, monkeypatch, capsys, exact, modules, conversations, overflowing, too_long
):
    """Firefox's engine also reads the Content-Security-Policy more strictly."""
    whole = [questions for questions, _ in conversations[:2]]
    asked = [whole[0], [*overflowing, "ok"], [too_long, "ok"], whole[1]]
    write_test_split(tmp_path / "data/formatted", asked)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(web_agreement, "install", lambda page, runtime: modules)
    command = ["web_agreement.py", exact.name, "--models", str(exact.parent), *options]
    monkeypatch.setattr(sys, "argv", command)

    web_agreement.main()

    printed = capsys.readouterr()
    figures = json.loads(printed.out)["web_float32"]
    assert figures.pop("tokens_per_second") > 0
    assert figures == {
        "agreement": 1,
        "agreement_of_words": 1,
        "equal_words_where_different": None,
        "answers": sum(map(len, whole)) + 1,
        "ended_by_full_context": 2,
        "conversations": 4,
    }
    assert printed.err.splitlines()[-2:] == [
        f"{question!r}: the context is full, so here it ends"
        for question in (overflowing[1], too_long.strip())
    ]


def write_test_split(folder, conversations):
    folder.mkdir(parents=True)
    with open(folder / "test.jsonl", "w") as file:
        for questions in conversations:
            messages = [
                {"role": role, "content": text}
                for question in questions
                for role, text in (("user", question), ("assistant", "Done."))
            ]
            file.write(json.dumps({"messages": messages}) + "\n")


def test_a_conversation_is_counted_up_to_its_first_difference(capsys):
    comparison = web_agreement.Comparison()
    questions = ["one", "two", "three"]
    comparison.add(questions, ["a b", "c d e f", "g"], ["a b", "c d X f", "h"])
    comparison.add(questions[:2], ["a", "b c"], ["X", "Y"])
    assert comparison.figures() == {
        "agreement": 1 / 3,
        "agreement_of_words": 4 / 7,
        "equal_words_where_different": 1,
        "answers": 3,
        "ended_by_full_context": 0,
    }
    assert "'two': the same for 4 characters, then\n  desktop: 'e f'" in capsys.readouterr().err


def test_a_bundle_that_fills_the_context_every_time_has_no_agreement(capsys):
    comparison = web_agreement.Comparison()
    comparison.add(["one"], [], ["a"])
    figures = comparison.figures()
    assert (figures["agreement"], figures["ended_by_full_context"]) == (None, 1)
    assert capsys.readouterr().err == "'one': the context is full, so here it ends\n"
