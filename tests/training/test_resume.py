"""A run that is stopped and started again ends as one that was not: in one process, and killed for
real.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training import resume
from gemma_finetune.training.data_pipeline import Example, pack
from gemma_finetune.training.resume import RunFile, SaveState, run_key
from gemma_finetune.training.trainer import GemmaTrainer
from gemma_finetune.utils.files import write_jsonl

LORA = LoRAConfig(
    rank=2, alpha=4, use_rslora=False, dropout=0.2, targets=("q_proj",), quantization_aware=False
)
ROOT = Path(__file__).parents[2]


def make_rows(count, seed):
    ids = np.random.default_rng(seed).integers(10, 60, (count, 20)).astype("int32")
    return pack([Example(row, np.arange(20) > 5) for row in ids], 64)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_trainer(base_dir, train_config):
    settings = dict(
        epochs=3,
        batch_size=4,
        sequence_length=64,
        warmup_steps=2,
        learning_rate=0.01,
        save_every_steps=3,
    )
    return GemmaTrainer(load_gemma_model(base_dir), LORA, train_config(**settings))


class Stopped(Exception):
    pass


def stop_at_save(monkeypatch, number):
    """Ends the run right after its state was saved for the `number`th time."""
    save, count = SaveState._save, iter(range(1, 99))

    def save_and_stop(self):
        save(self)
        if next(count) == number:
            raise Stopped

    monkeypatch.setattr(SaveState, "_save", save_and_stop)


@pytest.fixture(scope="module")
def uninterrupted(base_dir, train_config):
    return make_trainer(base_dir, train_config).fit(make_rows(48, 0), make_rows(9, 1))


# 4 steps an epoch, saved after steps 3, 4 (an epoch's end), 6, 8, 9 and 12, which is the last.
@pytest.mark.parametrize("number", [1, 2, 6])
def test_it_goes_on_to_the_same_result(
    base_dir, train_config, here, monkeypatch, uninterrupted, number
):
    file = RunFile("key")
    with monkeypatch.context() as patch:
        stop_at_save(patch, number)
        with pytest.raises(Stopped):
            make_trainer(base_dir, train_config).fit(make_rows(48, 0), make_rows(9, 1), file)
    result = make_trainer(base_dir, train_config).fit(make_rows(48, 0), make_rows(9, 1), file)
    assert result.metrics == uninterrupted.metrics
    assert result.log.rows == uninterrupted.log.rows
    assert {k: v.tobytes() for k, v in result.weights.items()} == {
        k: v.tobytes() for k, v in uninterrupted.weights.items()
    }


def test_the_file_is_whole_or_not_there_and_leaves_nothing(here, capsys):
    file = RunFile("key")
    assert file.read() is None
    file.write({"a/b": np.arange(3)}, {"best": float("inf")})
    arrays, facts = file.read()
    assert arrays["a/b"].tolist() == [0, 1, 2] and facts == {"best": float("inf")}
    file.path.with_name(
        f".{file.path.name}.4194305.tmp"
    ).mkdir()  # as `kill -9` leaves it; no process has that id
    file.path.write_bytes(file.path.read_bytes()[:-30])
    assert file.read() is None and "damaged" in capsys.readouterr().err
    file.remove()
    assert list(here.iterdir()) == []


def test_another_run_has_another_key(here, monkeypatch, train_config):
    data = here / "train.jsonl"
    data.write_text("a")
    keys = [run_key([train_config()], [data])]
    assert run_key([train_config()], [data]) == keys[0]
    keys.append(run_key([train_config(seed=1)], [data]))
    data.write_text("b")
    keys.append(run_key([train_config()], [data]))
    monkeypatch.setenv("XLA_FLAGS", "--other")
    keys.append(run_key([train_config()], [data]))
    shutil.copytree(resume.PACKAGE / "training", here / "package")
    monkeypatch.setattr(resume, "PACKAGE", here / "package")
    keys.append(run_key([train_config()], [data]))
    (here / "package" / "optimizer.py").write_text("# edited")
    keys.append(run_key([train_config()], [data]))
    assert len(set(keys)) == len(keys)


SETTINGS = {"lora.rank": 2, "lora.dropout": 0.1, "train.max_steps": 60, "train.epochs": None}
SETTINGS |= {"train.save_every_steps": 2, "train.batch_size": 1, "train.sequence_length": 64}
TEXT = "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>\n"


@pytest.fixture
def project(here, base_dir, write_params):
    """A folder in which `python scripts/train.py` trains for 60 steps and saves every second."""
    write_params(SETTINGS)
    shutil.copytree(base_dir, here / "models" / "base")
    for split, count in (("train", 24), ("validation", 4)):
        rows = [
            {"id": str(n), "text": TEXT.format(f"light {n}", f"kitchen {n * 7}")}
            for n in range(count)
        ]
        write_jsonl(here / "data" / "formatted" / f"{split}.jsonl", rows)
    return here


def start(project):
    command = [sys.executable, str(ROOT / "scripts" / "train.py")]
    return subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def outputs(project):
    paths = ("models/lora.npz", "metrics/train.json", "metrics/training_log.csv")
    return {path: (project / path).read_bytes() for path in paths}


def test_killed_and_run_again_it_ends_with_the_same_bytes(project):
    whole = start(project)
    assert "60 steps" in whole.communicate()[0]
    wanted = outputs(project)
    assert not (project / ".resume").exists()
    for path in wanted:  # as DVC does before it runs a stage
        os.unlink(project / path)

    killed = start(project)
    while not list((project / ".resume").glob("train-*.npz")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not any((project / path).exists() for path in wanted)

    again = start(project)
    assert "goes on after step" in again.communicate()[1]
    assert outputs(project) == wanted
    assert not (project / ".resume").exists()


def test_ctrl_c_ends_it_with_one_line(project, write_params):
    write_params(
        SETTINGS | {"train.max_steps": 100_000}
    )  # it must not be done before the key is pressed
    process = start(project)
    while not list((project / ".resume").glob("train-*.npz")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert (process.returncode, errors[-12:], "Traceback" in errors) == (
        130,
        "interrupted\n",
        False,
    ), errors
