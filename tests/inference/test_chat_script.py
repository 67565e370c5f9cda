"""scripts/chat.py says so if the bundle at hand failed its checks, and its stdout stays answers."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest

from gemma_finetune.utils.files import sha256
from imports import ROOT

pytestmark = pytest.mark.slow

CHECKS = {"value": 2.0, "threshold": 0.5}
HOPS = ("train", "merge", "transformers", "tflite", "quantize@int8", "bundle@int8")


@pytest.fixture
def bundle(models, tmp_path, write_params):
    """models/bundle/int8.task in a working folder of the pipeline."""
    write_params({"generate.max_tokens": 4})
    path = tmp_path / "models/bundle/int8.task"
    path.parent.mkdir(parents=True)
    shutil.copyfile(models["task"], path)
    return path


def write_verdicts(folder, digest, failed=None, rung="tflite_int8"):
    """metrics/check.json as the stage `check` writes it, with one failed hop or none."""
    hops = {hop: {"lora.kl": CHECKS | {"verdict": "pass"}} for hop in HOPS}
    if failed:
        hops[failed] = {f"{rung}.kl": CHECKS | {"verdict": "fail"}}
    bundles = {"int8.task": digest, "int8.litertlm": "of another file"}
    (folder / "metrics").mkdir()
    (folder / "metrics/check.json").write_text(json.dumps({"hops": hops, "bundles": bundles}))


def chat(folder, *arguments):
    command = [sys.executable, ROOT / "scripts/chat.py", "--prompt", "Hi", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def answer(bundle, tmp_path):
    """What the bundle answers to "Hi", without any metrics there."""
    return chat(tmp_path).stdout


def test_a_closed_standard_input_is_one_without_lines(bundle, tmp_path, answer):
    """As in some schedulers: Python then has no sys.stdin at all."""
    for arguments, expected in [("--prompt Hi", answer), ("", "")]:
        command = f"exec {shlex.quote(sys.executable)} {ROOT}/scripts/chat.py {arguments} <&-"
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout) == (0, expected), done.stderr


def warnings(done):
    return [line for line in done.stderr.splitlines() if line.startswith("warning")]


def test_a_bundle_that_failed_is_named_with_its_hop(bundle, tmp_path, answer):
    write_verdicts(tmp_path, sha256(bundle), failed="quantize@int8")
    done = chat(tmp_path)
    [warning] = warnings(done)
    assert warning == (
        "warning: models/bundle/int8.task failed its checks at quantize@int8; see metrics/report.md"
    )
    assert done.stdout == answer


@pytest.mark.parametrize(
    ("digest", "failed", "rung"),
    [
        (None, None, None),  # nothing failed
        ("of an older run", "quantize@int8", "tflite_int8"),  # another file was judged
        (None, "bundle@int8", "litertlm_int8"),  # the other bundle failed
    ],
    ids=["passed", "another file", "the other bundle"],
)
def test_any_other_bundle_is_not(bundle, tmp_path, answer, digest, failed, rung):
    write_verdicts(tmp_path, digest or sha256(bundle), failed, rung)
    done = chat(tmp_path)
    assert (done.stdout, warnings(done)) == (answer, [])


def test_a_model_that_is_no_bundle_is_not(bundle, models, tmp_path, tokenizer_path):
    write_verdicts(tmp_path, sha256(bundle), failed="train")
    arguments = ("--model", models["tflite"], "--tokenizer", tokenizer_path)
    assert warnings(chat(tmp_path, *arguments)) == []


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\n", "{}", "[]"])
def test_unreadable_verdicts_do_not_keep_anyone_from_chatting(bundle, tmp_path, answer, content):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/check.json").write_text(content)
    done = chat(tmp_path)
    [warning] = warnings(done)
    assert "metrics/check.json" in warning
    assert done.stdout == answer
