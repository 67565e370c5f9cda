"""Checkpoints: a run that is stopped and started again ends as one that was not."""

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
import yaml

from gemma_finetune.auto import KEYS
from gemma_finetune.config import load_section
from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training import resume
from gemma_finetune.training.callbacks import MetricsLogger, Progress
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import pack
from gemma_finetune.training.examples import Example
from gemma_finetune.training.resume import RunFile, run_key, run_settings
from gemma_finetune.training.trainer import GemmaTrainer
from imports import imported_files
from lora_settings import lora_config

pytestmark = pytest.mark.slow


LORA = lora_config(rank=2, alpha=4, dropout=0.2, targets=("q_proj",))
ROOT = Path(__file__).parents[2]


def make_rows(count, seed):
    ids = np.random.default_rng(seed).integers(10, 60, (count, 20)).astype("int32")
    return pack([Example(row, np.arange(20) > 5) for row in ids], 64)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_trainer(base_dir, train_config, **changes):
    settings = dict(
        epochs=3,
        batch_size=4,
        sequence_length=64,
        warmup_steps=2,
        learning_rate=0.01,
        save_every_steps=3,
    )
    return GemmaTrainer(load_gemma_model(base_dir), LORA, train_config(**settings | changes))


class Stopped(Exception):
    pass


def stop_at_save(monkeypatch, number):
    """Ends the run right after its state was saved for the `number`th time."""
    write, count = RunFile.write, iter(range(1, 99))

    def write_and_stop(self, arrays, facts):
        write(self, arrays, facts)
        if next(count) == number:
            raise Stopped

    monkeypatch.setattr(RunFile, "write", write_and_stop)


@pytest.fixture(scope="module")
def uninterrupted(base_dir, train_config):
    return make_trainer(base_dir, train_config).fit(make_rows(48, 0), make_rows(9, 1))


# 4 steps an epoch, saved after steps 3, 4 (an epoch's end), 6, 7 (before an epoch's last), 8, 9, 11
# and 12, which is the last.
@pytest.mark.parametrize("number", [2, 4, 8])
def test_it_resumes_and_ends_with_the_same_result(
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
    assert as_bytes(result) == as_bytes(uninterrupted)


@pytest.mark.parametrize(
    ("steps", "minutes", "expected"),
    [
        (3, 99, [3, 4, 6, 7, 8, 9, 11, 12]),  # also before the last step of an epoch, and after it
        (99, 1e-9, list(range(1, 13))),  # each step is late
    ],
)
def test_it_saves_by_steps_and_by_time(
    base_dir, train_config, here, monkeypatch, steps, minutes, expected
):
    saved = []
    monkeypatch.setattr(
        RunFile, "write", lambda self, arrays, facts: saved.append(len(facts["rows"]))
    )
    every = {"save_every_steps": steps, "save_every_minutes": minutes}
    trainer = make_trainer(base_dir, train_config, **every)
    trainer.fit(make_rows(48, 0), None, RunFile("key"))
    assert saved == expected


def as_bytes(result):
    return {name: array.tobytes() for name, array in result.weights.items()}


def test_the_file_is_whole_or_not_there_and_leaves_nothing(here, capsys):
    file = RunFile("key")
    assert file.read() is None
    file.write({"a/b": np.arange(3)}, {"best": float("inf")})
    arrays, facts = file.read()
    assert arrays["a/b"].tolist() == [0, 1, 2] and facts == {"best": float("inf")}
    # As `kill -9` leaves it; no process has that id
    file.path.with_name(f".{file.path.name}.4194305.tmp").mkdir()
    file.path.write_bytes(file.path.read_bytes()[:-30])
    (file.tokens / "train").mkdir(parents=True)
    assert file.read() is None and "damaged" in capsys.readouterr().err
    file.remove()
    assert list(here.iterdir()) == []


def test_another_run_has_another_key(here, monkeypatch, write_params):
    """Each change of a setting, an input, the device or the imported code gives another key."""
    data, code = here / "train.jsonl", here / "optimizer.py"
    data.write_text("a")
    shutil.copyfile(resume.PACKAGE / "training" / "optimizer.py", code)
    monkeypatch.setattr(resume, "PACKAGE", here)
    monkeypatch.setattr(resume, "imported_code", lambda: [code])

    def key(**changes):
        write_params({f"train.{name}": value for name, value in changes.items()})
        return run_key(settings_now(), [data])

    keys = [key()]
    assert key() == key(save_every_steps=7) == key(save_every_minutes=1) == keys[0]
    keys.append(key(seed=1))
    data.write_text("b")
    keys.append(key())
    monkeypatch.setenv("XLA_FLAGS", "--other")
    keys.append(key())
    code.write_text("# edited")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def settings_now():
    """The settings of a run by params.yaml in the working folder."""
    model, lora = load_section("model", ModelConfig), load_section("lora", LoRAConfig)
    return run_settings(model, lora, load_section("train", TrainingConfig))


def test_the_key_and_dvc_yaml_name_the_same_settings(write_params):
    write_params({})
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    *keys, resolved = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["params"]
    listed = set()
    for key in keys:
        whole_section = "." not in key
        listed |= {f"{key}.{name}" for name in params[key]} if whole_section else {key}
    for section in resolved["metrics/settings.json"]:
        listed |= {f"{section}.{key}" for key in KEYS[section]}
    assert set(settings_now()) == listed


# As `python scripts/train.py` at the point where it computes the key
LOADED = """
import json, train
from gemma_finetune.training.resume import PACKAGE, imported_code
print(json.dumps([file.relative_to(PACKAGE.parents[1]).as_posix() for file in imported_code()]))
"""


def test_the_key_covers_the_code_that_training_imports_and_no_other():
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    wanted = {file for file in imported_files(ROOT / "scripts/train.py") if file.endswith(".py")}
    found = json.loads(done.stdout)
    assert found == sorted(wanted - {"scripts/train.py"})  # which is among the run's files
    assert "scripts/gemma_finetune/training/optimizer.py" in found
    assert not any("/inference/" in file for file in found)


def test_a_training_removes_what_other_runs_left_a_week_ago(here, capsys):
    names = ("own", "old", "recent")
    files = {name: RunFile(name) for name in names}
    for file in files.values():
        file.write({"a": np.arange(3)}, {})
        (file.tokens / "train").mkdir(parents=True)
    killed = files["old"].path.with_name(f".{files['old'].path.name}.4194305.tmp")
    killed.mkdir()
    long_ago = time.time() - 8 * 24 * 3600
    for path in (*vars(files["own"]).values(), *vars(files["old"]).values(), killed):
        os.utime(path, (long_ago, long_ago))

    files["own"].remove_old_ones()
    assert sorted(path.name for path in resume.FOLDER.iterdir()) == [
        "train-own.npz",
        "train-own.tokens",
        "train-recent.npz",
        "train-recent.tokens",
    ]
    assert ".resume/ holds 1 unfinished run" in capsys.readouterr().err


def test_without_other_runs_nothing_is_said(here, capsys):
    RunFile("own").remove_old_ones()
    RunFile("own").write({}, {})
    RunFile("own").remove_old_ones()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("when", ["at the last step of an epoch", "in its validation"])
def test_ctrl_c_before_an_epoch_ends_waits_for_its_end(
    when, here, base_dir, train_config, monkeypatch
):
    """4 steps an epoch. The press comes from a callback, as a key does from outside."""
    callback, name = {
        "at the last step of an epoch": (MetricsLogger, "on_train_batch_end"),
        "in its validation": (Progress, "on_test_batch_end"),
    }[when]
    original = getattr(callback, name)

    def press(self, batch, logs=None):
        original(self, batch, logs)
        if batch == (3 if callback is MetricsLogger else 0):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(callback, name, press)
    rows, file = make_rows(48, 0), RunFile("interrupted")
    trainer = make_trainer(base_dir, train_config, save_every_steps=100)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(rows, make_rows(9, 1), file)
    _, facts = file.read()
    assert len(facts["rows"]) == 4 and facts["val_loss"] == pytest.approx(facts["best"][0])
