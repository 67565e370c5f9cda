"""One grid on three clones, with a Git remote and a DVC remote: real DVC, stand-ins for scripts."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from clones import git, run
from imports import ROOT

pytestmark = pytest.mark.slow

TARGETS = ("--single-item", "train", "check")  # check's figures follow train's


@pytest.fixture
def team(stand_ins, tmp_path):
    """A clone whose commit is pushed, and the URL of the Git remote. Two stages are stubs."""
    clone = shutil.copytree(stand_ins, tmp_path / "team")
    for stage in ("train", "check"):
        shutil.copyfile(Path(__file__).with_name("stage_stub.py"), clone / f"scripts/{stage}.py")
    run(clone, "dvc", "remote", "modify", "shared", "url", str(tmp_path / "dvc-remote"))
    git(clone, "commit", "-qam", "stubs")
    git(tmp_path, "clone", "-q", "--bare", "team", "team.git")
    url = f"file://{tmp_path}/team.git"
    git(clone, "remote", "add", "origin", url)
    run(clone, "dvc", "push")
    return clone, url


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.org")


def test_three_clones_share_a_grid_and_a_stopped_point_goes_on_elsewhere(
    team, tmp_path, monkeypatch
):
    clone, url = team

    def run_point(machine, rank, ok=True):
        folder = tmp_path / machine
        folder.mkdir(exist_ok=True)
        command = ["bash", clone / "scripts/point.sh", url, f"rank-{rank}"]
        printed = run(folder, *command, "-S", f"lora.rank={rank}", *TARGETS, ok=ok)
        return folder / f"rank-{rank}", printed

    # It was run before, and ended before it was shared.
    (tmp_path / "first").mkdir()
    git(tmp_path / "first", "clone", "-q", url, "rank-4")
    unshared = ("dvc", "exp", "run", "--pull", "--allow-missing", "--name", "rank-4")
    run(tmp_path / "first/rank-4", *unshared, "-S", "lora.rank=4", *TARGETS)
    _, printed = run_point("first", 4)
    assert "Running stage" not in printed

    monkeypatch.setenv("STOP_AT", "check")
    stopped, _ = run_point("second", 16, ok=False)
    monkeypatch.delenv("STOP_AT")
    finished, printed = run_point("third", 16)
    assert "Stage 'train' is cached - skipping run" in printed
    assert trained(finished) == trained(stopped)

    run(clone, "dvc", "exp", "pull", "origin")
    table = csv.DictReader(io.StringIO(run(clone, "dvc", "exp", "show", "--csv")))
    points = {row["Experiment"]: row for row in table if row["Experiment"]}
    assert {name: row["lora.rank"] for name, row in points.items()} == {
        "rank-4": "4",
        "rank-16": "16",
    }
    assert len({row["value"] for row in points.values()}) == 2


def trained(clone):
    """What dvc.lock says of the stage `train`."""
    return yaml.safe_load((clone / "dvc.lock").read_text())["stages"]["train"]


@pytest.fixture
def macos(tmp_path, monkeypatch):
    """What a stock macOS has of the commands in point.sh, and a clone. Gives what dvc was told."""
    log = tmp_path / "log"
    (tmp_path / "point").mkdir()
    for name in ("dvc", "git", "python"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return log


def point(folder):
    """(exit status, what was printed) of point.sh."""
    bash = ["/bin/bash", ROOT / "scripts/point.sh", "URL", "point", "-S", "lora.rank=4"]
    done = subprocess.run(bash, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def test_a_point_without_a_limit_needs_no_timeout(macos, tmp_path):
    assert point(tmp_path) == (0, "")
    assert macos.read_text().splitlines() == [
        "exp remove --quiet point",
        "exp run --pull --allow-missing --name point -S lora.rank=4",
        "scripts/share.py",
        "exp push --no-cache origin point",
    ]


def test_a_limit_without_timeout_is_refused_before_anything_runs(macos, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMIT", "4h")
    status, printed = point(tmp_path)
    assert status == 1 and "brew install coreutils" in printed
    assert not macos.exists()


def test_a_limit_is_given_to_timeout(macos, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMIT", "4h")
    timeout = tmp_path / "bin/timeout"
    timeout.write_text(f'#!/bin/sh\necho "timeout $@" >> {macos}\nexit 124\n')
    timeout.chmod(0o755)
    status, _ = point(tmp_path)
    assert status == 124
    assert macos.read_text().splitlines()[1:] == [
        "timeout 4h dvc exp run --pull --allow-missing --name point -S lora.rank=4",
        "scripts/share.py",  # what ended is shared all the same
    ]
