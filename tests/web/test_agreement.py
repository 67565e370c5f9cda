"""agreement.py in both browsers and on a GPU that the CPU computes, and how it counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agreement
from gemma_finetune.utils.errors import UserError
from gemma_finetune.web.firefox import find_firefox
from imports import SCRIPTS

pytestmark = pytest.mark.slow

SOFTWARE_VULKAN = Path("/usr/lib/chromium/vk_swiftshader_icd.json")  # of Debian's Chromium

NO_FIREFOX = pytest.mark.skipif(find_firefox() is None, reason="Firefox is not installed")


@pytest.mark.browser
@pytest.mark.parametrize(
    "options",
    [[], pytest.param(["--on", "firefox"], marks=NO_FIREFOX)],
    ids=["chromium", "firefox"],
)
def test_a_full_context_ends_its_conversation_and_no_more(
    options, tmp_path, monkeypatch, capsys, exact, modules, conversations, overflowing, too_long
):
    """Firefox's engine also reads the Content-Security-Policy more strictly."""
    whole = [questions for questions, _ in conversations[:2]]
    asked = [whole[0], [*overflowing, "ok"], [too_long, "ok"], whole[1]]
    write_test_split(tmp_path / "data/formatted", asked)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agreement, "install", lambda page, runtime: modules)
    command = ["agreement.py", exact.name, "--models", str(exact.parent), *options]
    monkeypatch.setattr(sys, "argv", command)

    agreement.main()

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


@pytest.mark.browser
@pytest.mark.skipif(
    not SOFTWARE_VULKAN.exists(), reason="Chromium's Vulkan is not where Debian's is"
)
def test_answers_on_a_gpu_are_compared(tmp_path, bundles, conversations):
    """How many are equal is not promised: on slow Vulkan, LiteRT-LM 0.18 mixes prompts up."""
    questions = [questions[:1] for questions, _ in conversations[:1]]
    write_test_split(tmp_path / "data/formatted", questions)

    run = agree_on_a_gpu(tmp_path, bundles["litertlm"], SOFTWARE_VULKAN)

    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)["gpu_int8"]
    assert figures["conversations"] == 1
    assert figures["answers"] + figures["ended_by_full_context"] >= 1
    assert "INFO" not in run.stdout + run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the GPU is not found by Vulkan")
def test_without_a_gpu_it_says_what_to_install(tmp_path, bundles):
    write_test_split(tmp_path / "data/formatted", [["Turn on the light."]])

    run = agree_on_a_gpu(tmp_path, bundles["litertlm"], tmp_path / "none.json")

    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"error: {bundles['litertlm']}: LiteRT-LM cannot open it on a GPU: ")
    assert "install" in line and "Vulkan driver" in line and "VK_ICD_FILENAMES=" in line


def agree_on_a_gpu(folder, bundle, driver):
    """agreement.py in `folder`, with Vulkan's driver described by the file `driver`."""
    command = [sys.executable, SCRIPTS / "agreement.py", bundle.name, "--models", bundle.parent]
    return subprocess.run(
        [*command, "--on", "gpu"],
        cwd=folder,
        env=os.environ
        | {
            "VK_ICD_FILENAMES": str(driver),
            "VK_DRIVER_FILES": str(driver),
            "LD_LIBRARY_PATH": str(SOFTWARE_VULKAN.parent),  # for Chromium's own libvulkan.so.1
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_below_one_is_refused(monkeypatch, limit):
    monkeypatch.setattr(sys, "argv", ["agreement.py", "--limit", limit])
    with pytest.raises(UserError, match=f"--limit {limit}: compare at least one conversation"):
        agreement.main()


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
    comparison = agreement.Comparison()
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
    assert "'two': the same for 4 characters, then\n  CPU: 'e f'" in capsys.readouterr().err


def test_a_bundle_that_fills_the_context_every_time_has_no_agreement(capsys):
    comparison = agreement.Comparison()
    comparison.add(["one"], [], ["a"])
    figures = comparison.figures()
    assert (figures["agreement"], figures["ended_by_full_context"]) == (None, 1)
    assert capsys.readouterr().err == "'one': the context is full, so here it ends\n"
