"""What an experiment runs and what going back restores: real DVC, stand-ins for the scripts."""

import shutil
from pathlib import Path

import pytest
import yaml

from clones import clone_working_tree, git, run, stages_run
from imports import ROOT

pytestmark = pytest.mark.slow

STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone in which every stage has run once; later tests see what earlier ones changed."""
    clone = clone_working_tree(tmp_path_factory.mktemp("run-cache") / "repository")
    for stage in STAGES:
        shutil.copyfile(Path(__file__).with_name("stage_stub.py"), clone / f"scripts/{stage}.py")
    output = run(clone, "dvc", "repro")
    assert sorted(stages_run(output)) == sorted(STAGES)
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "run")
    return clone


def test_a_change_of_rank_touches_neither_data_nor_base_and_going_back_restores_it(clone):
    before = git_state(clone)
    changed = stages_run(run(clone, "dvc", "exp", "run", "-S", "lora.rank=16"))
    assert changed == [
        "train",
        "merge",
        "tflite",
        "quantize",
        "bundle",
        "measure_float",
        "measure",
        "evaluate",
        "check",
        "report",
    ]
    assert git_state(clone) != before
    back = run(clone, "dvc", "exp", "run", "-S", "lora.rank=8")
    assert stages_run(back) == [
        "report"
    ]  # Markdown is neither metric nor plot: DVC caches no run of it
    assert back.count("is cached - skipping run") == 12  # quantize, bundle and measure twice
    assert git_state(clone) == before


def git_state(clone):
    """What Git sees of the metrics and the lock."""
    files = [*(clone / "metrics").iterdir(), clone / "dvc.lock"]
    return {file.name: file.read_bytes() for file in files}


def test_fewer_quantizations_train_and_convert_nothing(clone):
    output = run(clone, "dvc", "exp", "run", "-S", "export.quantizations=[int4]")
    assert stages_run(output) == ["settings", "evaluate", "check", "report"]
    run(clone, "dvc", "exp", "run", "-S", "export.quantizations=[int8,int4]")


def test_how_often_to_save_retrains_nothing_and_measures_nothing(clone):
    output = run(clone, "dvc", "exp", "run", "-S", "train.save_every_steps=7")
    assert "train" not in stages_run(output) and "tflite" not in stages_run(output)
    run(clone, "dvc", "exp", "run", "-S", "train.save_every_steps=100")
