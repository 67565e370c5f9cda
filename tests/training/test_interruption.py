"""`python scripts/train.py` killed, interrupted, or with parameters that change under it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gemma_finetune.utils.files import write_jsonl

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTINGS = {"lora.rank": 2, "lora.dropout": 0.1, "train.max_steps": 40, "train.epochs": None}
SETTINGS |= {"train.save_every_steps": 2, "train.batch_size": 1, "train.sequence_length": 64}
TEXT = "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>\n"


@pytest.fixture
def project(tmp_path, base_dir, write_params):
    """A folder in which `python scripts/train.py` trains for 40 steps and saves every second."""
    write_params(SETTINGS)
    shutil.copytree(base_dir, tmp_path / "models" / "base")
    for split, count in (("train", 24), ("validation", 4)):
        rows = [
            {"id": str(n), "text": TEXT.format(f"light {n}", f"kitchen {n * 7}")}
            for n in range(count)
        ]
        write_jsonl(tmp_path / "data" / "formatted" / f"{split}.jsonl", rows)
    return tmp_path


def start(project):
    command = [sys.executable, str(ROOT / "scripts" / "train.py")]
    return subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(project, process, name, size=0):
    """Until a file of that name is there, with more than `size` bytes."""
    deadline = time.monotonic() + 600
    while not any(path.stat().st_size > size for path in project.glob(name)):
        assert process.poll() is None, process.communicate(timeout=600)
        assert time.monotonic() < deadline, f"train.py wrote no {name} in 600 s"
        time.sleep(0.01)


def outputs(project):
    paths = ("models/lora.npz", "metrics/train.json", "metrics/training_log.csv")
    return {path: (project / path).read_bytes() for path in paths}


def test_killed_and_run_again_it_ends_with_the_same_bytes(project):
    whole = start(project)
    assert "40 steps" in whole.communicate(timeout=600)[0]
    wanted = outputs(project)
    assert not (project / ".resume").exists()
    for path in wanted:  # as DVC does before it runs a stage
        os.unlink(project / path)

    killed = start(project)
    wait_for(project, killed, ".resume/train-*.npz")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=600)
    left = [path for path in wanted if (project / path).exists()]
    assert left in ([], ["metrics/training_log.csv"])  # which grows as training goes

    again = start(project)
    assert "goes on after step" in again.communicate(timeout=600)[1]
    assert outputs(project) == wanted
    assert not (project / ".resume").exists()


def test_parameters_that_are_edited_meanwhile_are_refused_and_put_back_it_goes_on(
    project, write_params
):
    shutil.copyfile(ROOT / "dvc.yaml", project / "dvc.yaml")
    process = start(project)
    wait_for(project, process, "metrics/training_log.csv")  # while the first step is compiled
    write_params(SETTINGS | {"lora.rank": 3})
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 1 and "Traceback" not in errors
    assert "error: params.yaml was changed while this stage ran (lora: " in errors
    assert not (project / "models/lora.npz").exists()

    write_params(SETTINGS)
    out, errors = start(project).communicate(timeout=600)
    assert "goes on after step 40" in errors and "40 steps -> models/lora.npz" in out


def test_a_process_of_a_job_does_not_train_alone(project, monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    out, errors = start(project).communicate(timeout=600)
    assert errors.startswith("error: KERAS_DISTRIBUTION_PROCESS_ID: set, but") and not out


def test_ctrl_c_ends_it_with_one_line_and_nothing_is_lost(project, write_params):
    # It must not be done before the key is pressed, nor save for another reason.
    write_params(SETTINGS | {"train.max_steps": 100_000, "train.save_every_steps": 100_000})
    process = start(project)
    wait_for(project, process, "metrics/training_log.csv", size=200)  # some steps
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 130, errors
    assert "stopping after this step" in errors and "Traceback" not in errors, errors
    assert errors.endswith("the same command goes on from the last checkpoint\ninterrupted\n")

    (saved,) = (project / ".resume").glob("train-*.npz")
    rows = json.loads(str(np.load(saved)["facts"]))["rows"]
    assert len(rows) == len((project / "metrics/training_log.csv").read_text().splitlines()) - 1


def test_a_second_ctrl_c_ends_it_at_once(project, write_params):
    write_params(SETTINGS | {"train.max_steps": 100_000})
    process = start(project)
    wait_for(project, process, "metrics/training_log.csv")  # while the first step is compiled
    process.send_signal(signal.SIGINT)
    assert any("stopping after" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    # If the step was over in between, it has ended in order.
    assert process.wait(timeout=600) in (-signal.SIGKILL, 130)
    process.stderr.close()
    process.stdout.close()
