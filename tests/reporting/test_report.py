"""The stage `report` on given metrics: the model card, its table and its pictures."""

import csv
import json
import re

import pytest

from gemma_finetune.reporting import ladder

from .conftest import NAMES, Folder, healthy_text, make_folder

pytestmark = pytest.mark.slow

PICTURES = ("ladder.png", "training.png")
WRITTEN = ("report.md", "samples.md", "ladder.csv", *PICTURES)


def report(folder) -> str:
    """The card, after `check` and `report`."""
    for script in ("check", "report"):
        done = folder.run(script)
        assert done.returncode == 0, done.stderr
    return folder.report()


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> Folder:
    """A healthy run, after `check` and `report`. No test changes it."""
    folder = make_folder(tmp_path_factory.mktemp("reported"))
    report(folder)
    return folder


def test_the_report_tells_the_whole_story_in_the_same_bytes_each_time(reported):
    files = [reported.path / "metrics" / name for name in WRITTEN]
    before = [file.read_bytes() for file in files]
    text = report(reported)
    assert [file.read_bytes() for file in files] == before
    for rung in ladder.rungs(NAMES):
        assert f"| `{rung}` |" in text
    assert all(f"({name})" in text for name in PICTURES)
    lost = "10 rejected (0.6%), 88 duplicates (5.5%), 2 too long (0.1%)"
    assert f"Of 1,600 rows that were read, these were left out: {lost}." in text
    assert "| 1,500 |" in text and "| `train.learning_rate` |" in text
    assert not re.search(r"\bNone\b|\bnan\b|\{|\}", text)


def test_the_pictures_name_no_version_of_matplotlib(reported):
    for name in PICTURES:
        picture = (reported.path / "metrics" / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert b"matplotlib" not in picture


def test_the_table_has_every_rung_in_ladder_order(reported):
    with open(reported.path / "metrics/ladder.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rung"] for row in rows] == ladder.rungs(NAMES)
    assert list(rows[0])[: len(ladder.COLUMNS) + 1] == ["rung", *ladder.COLUMNS]
    assert "answer_length" in rows[0]
    by_rung = {row["rung"]: row for row in rows}
    assert by_rung["merged"]["exact_match_change"] == ""  # it would be compared with itself
    assert by_rung["task_int4"]["follow_up_agreement"] == "0.98"


def test_a_card_of_a_failed_run_says_so_at_its_top(folder):
    folder.edit("tflite_int4", kl=2.5)
    lines = report(folder).split("---\n", 2)[2].lstrip().splitlines()
    assert lines[0] == "# Model card"
    assert lines[2].startswith("**FAILED**: the export chain breaks at hop quantize@int4:")
    assert "tflite_int4.kl is 2.5, threshold 0.5" in lines[3]


def test_a_card_of_a_run_that_did_not_fail_does_not(folder):
    folder.edit("lora", exact_match_low=0.8)  # inconclusive
    assert "FAILED" not in report(folder)


def test_the_gate_in_the_report_is_in_ladder_order(reported):
    gate = reported.report().split("## The gate")[1].split("## ")[0]
    hops = re.findall(r"^\| ([a-z0-9@_]+) \| `", gate, re.MULTILINE)
    assert list(dict.fromkeys(hops)) == ladder.hops(NAMES)


def test_the_report_names_the_adapters_own_settings_and_the_files_by_digest(reported):
    text = reported.report()
    assert "LoRA (rank 16, alpha 32, q_proj, o_proj)" in text  # params.yaml says rank 8
    assert "| `lora.use_rslora` | true |" in text and "| `lora.dropout` | 0.1 |" in text
    assert "| `models/bundle/int8.task` | 2,000,000 | `int8 task` |" in text


def test_the_report_marks_what_was_chosen_automatically(folder):
    path = folder.path / "params.yaml"
    params = json.loads(path.read_text())
    params["train"]["learning_rate"] = params["export"]["prefill_lengths"] = "auto"
    path.write_text(json.dumps(params))
    chosen = {"train": {"learning_rate": 0.0002}, "export": {"prefill_lengths": [8, 128, 512]}}
    folder.write("settings", chosen)
    folder.write("train", folder.read("train") | {"settings": {"train.learning_rate": 0.0002}})
    text = report(folder)
    assert "| `train.learning_rate` | 0.0002 (auto) |" in text
    assert "| `export.prefill_lengths` | 8, 128, 512 (auto) |" in text
    assert "| `train.batch_size` | 4 |" in text and "| settings |" not in text


def test_the_report_says_how_a_bundle_does_in_a_chat_of_its_own(reported):
    assert "| `task_int4` | 1.000 | 0.980 | 0.000 | 0.000 |" in reported.report()


def test_the_report_says_how_much_was_measured_and_how_long_an_answer_may_be(reported):
    text = reported.report()
    assert "5,400 scored positions of 200 of the 210 test conversations" in text
    assert "an answer may have 96 tokens" in text


def test_the_report_of_free_text_shows_the_figures_that_fit(folder):
    folder.write("evaluate", healthy_text())
    text = report(folder)
    assert "its chrf is 0.300 (0.270 to 0.330); the base's 0.300" in text
    answers = text.split("## What the answers are like")[1].split("## ")[0]
    assert "300 answers, compared as text: the gate looks at chrf." in answers
    assert "| rung | answer length | against merged | chrf | against merged | rouge l |" in answers
    assert "| `merged` | 20 (20 to 20) |  | 0.300 (0.270 to 0.330) |  |" in answers
    assert (
        "| `task_int8` | 20 (20 to 20) | +0 (+0 to +0) | 0.300 (0.270 to 0.330) | +0.000" in answers
    )


def test_ten_questions_stand_with_all_answers_in_the_card_and_in_a_file(reported):
    text = reported.report()
    samples = (reported.path / "metrics/samples.md").read_text()
    assert samples.count("\n### ") == 10 and samples.count("says") == 40
    assert samples.removeprefix("# Ten questions\n\n") in text
    # The second of ten, spread over 24 questions: the third that was asked.
    second = samples.split("### 2. ")[1].split("### 3. ")[0]
    for line in ("`chat-3`", "Question 3?", "Right 3.", "base says 3.", "int4 says 3."):
        assert line in second


def test_a_run_that_never_validated_has_a_report(folder):
    log = folder.path / "metrics/training_log.csv"
    log.write_text("step,loss,val_loss\n1,3.0,\n2,2.0,\n")
    assert "# Model card" in report(folder)
