"""Clones of the working tree, and commands run in them as a user would: for the tests of the whole
pipeline.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from dvc.repo import Repo

from imports import ROOT

TIME_LIMIT = 600  # seconds, of one command: DVC can hang (docs/troubleshooting.md)

# A base that knows next to nothing, an adapter that has seen little: every part is real, only the
# score is not.
SMALLER = {
    "model.tiny.steps": 20,
    "train.max_steps": 10,
    "train.epochs": 1,
    "evaluate.task": "exact",
    "evaluate.max_examples": 4,
    "evaluate.max_tokens": 8,
    "export.prefill_lengths": "[8,64]",
    "check.min_score.exact": 0.0,
    "check.max_faulty_answers": 1.0,
    "check.min_runtime_agreement": 0.0,
}

# Planted in the environment of the run that `reproduced` is; tests/faults/test_secrets.py searches
# for them. Made here, so that this file, which is in the clone too, does not hold them.
SECRETS = {
    name: hashlib.sha256(name.encode()).hexdigest()
    for name in ("HF_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY")
    + ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
}


def clone_working_tree(directory: Path) -> Path:
    """A Git clone of the working tree, what is not committed yet included, without any output of a
    stage.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=TIME_LIMIT,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    git(directory, "init", "-q", "-b", "main")
    git(directory, "add", "-A")
    git(directory, "commit", "-qm", "start")
    return directory


def commit_stand_ins(clone: Path) -> Path:
    """Makes a small file for every output, and has DVC record them in dvc.lock and its cache as if
    stages had run.
    """
    with Repo(str(clone)) as repo:
        paths = {
            Path(item.fs_path) for stage in repo.index.stages for item in (*stage.outs, *stage.deps)
        }
        for path in sorted(paths, reverse=True):  # what lies in a folder, then the folder
            _make_stand_in(path)
    run(clone, "dvc", "commit", "--force")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "stand-ins")
    return clone


def _make_stand_in(path):
    if not path.exists() and path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"stand-in for {path.name}\n")
    elif not path.exists():
        _make_stand_in(path / "stand-in.txt")


def git(directory, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, timeout=TIME_LIMIT)


def run(clone, *command, ok=True, seconds=TIME_LIMIT):
    """Runs a command in the clone with this environment's Python first in the PATH; returns all it
    printed.

    AssertionError if it fails, and if it still runs after `seconds`: then it is killed, with all
    that it started.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        command,
        cwd=clone,
        env=os.environ | {"PATH": path},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a process group of its own, to be killed as one
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except BaseException as error:  # the time is up, or a key was pressed
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            printed, _ = process.communicate(timeout=60)
            raise AssertionError(
                f"`{' '.join(map(str, command))}` still runs after {seconds} s, in {clone}; "
                f"it printed:\n{printed[-4000:]}"
            )
    assert (process.returncode == 0) == ok, printed[-4000:]
    return printed


def stages_run(output):
    """The stages that a repro ran, in order: names without their matrix suffix count once."""
    return list(
        dict.fromkeys(
            name.split("@")[0] for name in re.findall(r"Running stage '([\w@]+)'", output)
        )
    )
