"""Two processes with two simulated devices each meet on loopback and train as one device does.

One of them writes.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gemma_finetune.utils.files import write_jsonl

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>\n"


def make_project(folder, base_dir):
    """A folder with all that `python scripts/train.py` reads except params.yaml."""
    shutil.copytree(base_dir, folder / "models" / "base")
    for split, count in (("train", 40), ("validation", 9)):
        rows = []
        for n in range(count):
            text = TEXT.format(f"light {n}", f"kitchen {n * 7}")
            rows.append({"id": str(n), "text": text})
        write_jsonl(folder / "data" / "formatted" / f"{split}.jsonl", rows)
    return folder


DROPOUT, AWARE = {"lora.dropout": 0.1}, {"lora.quantization_aware": True}


def set_params(write_params, folder, lora=DROPOUT, **changes):
    settings = {
        "train.max_steps": 5,
        "train.batch_size": 4,
        "train.sequence_length": 64,
        "train.warmup_steps": 1,
        "train.gradient_accumulation_steps": 2,
        **lora,
    }
    params = write_params(settings | {f"train.{key}": value for key, value in changes.items()})
    shutil.copyfile(params, folder / "params.yaml")


def start(folder, number=None, port=None):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    if port:
        environment |= {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
    command = [sys.executable, str(ROOT / "scripts" / "train.py")]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def run_both(folders):
    """[(exit status, output, errors)] of a process in each folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(folder, number, port) for number, folder in enumerate(folders)]
    texts = [process.communicate() for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def losses(folder):
    rows = (folder / "metrics" / "training_log.csv").read_text().splitlines()[1:]
    last = json.loads((folder / "metrics" / "train.json").read_text())["val_loss"]
    return [float(row.split(",")[2]) for row in rows] + [last]


@pytest.fixture(scope="module")
def projects(tmp_path_factory, base_dir):
    """Two folders with the same inputs; a test leaves them as they were."""
    return [make_project(tmp_path_factory.mktemp("host"), base_dir) for _ in range(2)]


def on_one_device(folder, base_dir, write_params, lora):
    make_project(folder, base_dir)
    set_params(write_params, folder, lora, distribution="none")
    assert start(folder).wait() == 0
    return losses(folder)


@pytest.mark.parametrize(("kind", "lora"), [("data_parallel", DROPOUT), ("model_parallel", AWARE)])
def test_two_processes_train_as_one_device_does(
    kind, lora, projects, tmp_path, base_dir, write_params
):
    one_device = on_one_device(tmp_path / "one", base_dir, write_params, lora)
    for folder in projects:
        set_params(write_params, folder, lora, distribution=kind)
    results = run_both(projects)
    assert [status for status, *_ in results] == [0, 0], results
    np.testing.assert_allclose(losses(projects[0]), one_device, rtol=1e-4)
    assert "models/lora.npz" in results[0][1] and "models/lora.npz" not in results[1][1]
    assert not (projects[1] / "models/lora.npz").exists() and not (projects[1] / "metrics").exists()


def test_processes_that_differ_are_refused(projects, write_params):
    for number, folder in enumerate(projects):
        set_params(write_params, folder, distribution="data_parallel", seed=number)
    for status, _, errors in run_both(projects):
        assert status == 1
        assert "error: train.distribution: the processes differ in parameters" in errors
