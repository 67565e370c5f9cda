"""One grid on three clones, with a Git remote and a DVC remote: real DVC, stand-ins for scripts."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import types
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
    (tmp_path / "point/.git").mkdir(parents=True)
    for name in ("dvc", "git", "python"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return log


def point(folder, *arguments):
    """(exit status, what was printed) of point.sh."""
    arguments = arguments or ("URL", "point", "-S", "lora.rank=4")
    bash = ["/bin/bash", ROOT / "scripts/point.sh", *arguments]
    done = subprocess.run(bash, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def test_a_point_without_a_limit_needs_no_timeout(macos, tmp_path):
    assert point(tmp_path) == (0, "")
    assert macos.read_text().splitlines() == [
        "ls-remote URL HEAD",
        "-C point rev-parse HEAD",
        "checkout --quiet HEAD -- params.yaml",
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
    assert macos.read_text().splitlines()[-2:] == [
        "timeout 4h dvc exp run --pull --allow-missing --name point -S lora.rank=4",
        "scripts/share.py",  # what ended is shared all the same
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("URL",), "usage: bash point.sh URL NAME"),
        (("URL", "../rank-4"), "'../rank-4' names a folder and an experiment"),
        (("URL", "-S"), "'-S' names a folder and an experiment"),
        (("URL", "bin"), "./bin is there and is no clone"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_before_anything_runs(
    macos, tmp_path, arguments, message
):
    status, printed = point(tmp_path, *arguments)
    assert status == 1 and printed.startswith(message) and len(printed.splitlines()) == 1
    assert not macos.exists()


def test_a_clone_of_an_earlier_run_keeps_neither_its_code_nor_its_parameters(tmp_path, monkeypatch):
    """With real Git. The dvc of this test prints params.yaml instead of running the point."""
    origin, log = tmp_path / "origin", tmp_path / "log"
    (origin / "scripts").mkdir(parents=True)
    (origin / "scripts/share.py").touch()
    (origin / "params.yaml").write_text("rank: 8\n")
    git(origin, "init", "-q")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "first")
    dvc = tmp_path / "bin/dvc"
    dvc.parent.mkdir()
    dvc.write_text(f'#!/bin/sh\n[ "$2" != run ] || cat params.yaml >> {log}\n')
    dvc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{dvc.parent}{os.pathsep}{os.environ['PATH']}")

    killed = tmp_path / "bin/git"  # while it clones, and point.sh with it
    killed.write_text('#!/bin/sh\nmkdir -p "$4/.git" && kill -9 $PPID\n')
    killed.chmod(0o755)
    assert point(tmp_path, str(origin), "rank-8")[0] == -9
    killed.unlink()

    assert point(tmp_path, str(origin), "rank-8") == (0, "")
    assert not (tmp_path / ".rank-8.part").exists()
    (tmp_path / "rank-8/params.yaml").write_text("rank: 4\n")
    git(tmp_path / "rank-8", "add", "params.yaml")
    assert point(tmp_path, str(origin), "rank-8") == (0, "")
    assert log.read_text() == "rank: 8\n" * 2

    first = head(origin)
    git(origin, "commit", "-q", "--allow-empty", "-m", "second")
    second = head(origin)
    assert point(tmp_path, str(origin), "rank-8") == (
        1,
        f"./rank-8 has commit {first}, but this run is of {second}: remove the folder to start "
        f"anew, or set COMMIT={first} to finish what it began\n",
    )
    monkeypatch.setenv("COMMIT", first)
    assert point(tmp_path, str(origin), "rank-8") == (0, "")
    assert point(tmp_path, str(origin), "other") == (0, "")
    assert head(tmp_path / "other") == first
    assert log.read_text() == "rank: 8\n" * 4

    monkeypatch.setenv("COMMIT", first[:7])
    assert point(tmp_path, str(origin), "short") == (
        1,
        f"COMMIT={first[:7]}: write the commit in full, as `git rev-parse` prints it\n",
    )
    monkeypatch.setenv("COMMIT", "0" * 40)
    assert point(tmp_path, str(origin), "none") == (
        1,
        f"COMMIT={'0' * 40}: {origin} has no such commit\n",
    )
    assert not (tmp_path / "short").exists() and not (tmp_path / "none").exists()


def head(clone):
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.mark.parametrize("cpus, expected", [((0.0, 4.0, 2.0), 4.0), ((2.0, 64.0), 8)])
def test_the_lines_for_ray_ask_for_no_more_than_a_machine_has(monkeypatch, cpus, expected):
    """With a stand-in for Ray. bash gets the script on its standard input, as Ray's tasks do."""
    asked, told = [], []
    machines = [{"Alive": True, "Resources": {"CPU": count} if count else {}} for count in cpus]
    ray = types.SimpleNamespace(init=lambda address: None, nodes=lambda: machines, get=list)
    ray.remote = lambda **options: (
        lambda function: types.SimpleNamespace(
            options=lambda num_cpus: (
                asked.append(num_cpus) or types.SimpleNamespace(remote=function)
            )
        )
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: told.append(command))
    monkeypatch.chdir(ROOT)
    code = re.search(r"```python\n(.*?)```", Path("docs/grid.md").read_text(), re.DOTALL)[1]
    exec(code, {})
    assert set(asked) == {expected}
    assert [command[3:] for command in told] == [
        [f"rank-{rank}", "-S", f"lora.rank={rank}"] for rank in (4, 8, 16)
    ]


def test_the_script_runs_from_standard_input(macos, tmp_path):
    """Even if a command reads its standard input."""
    (tmp_path / "bin/dvc").write_text(f'#!/bin/sh\n/bin/cat > /dev/null\necho "$@" >> {macos}\n')
    script = (ROOT / "scripts/point.sh").read_text()
    bash = ["/bin/bash", "-s", "URL", "point"]
    subprocess.run(bash, cwd=tmp_path, input=script, text=True, check=True, timeout=60)
    assert macos.read_text().splitlines()[-1] == "exp push --no-cache origin point"
