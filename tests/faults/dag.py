"""The real DAG, made small: a clone in which all stages have run, and copies of it in which one has
yet to run.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from clones import SMALLER, clone_working_tree, git

EVERY = 20  # one raw row of so many is kept
PARAMS = SMALLER | {
    "data.max_lost_fraction": 1.0,
    "export.prefill_lengths": [8, 64],
    "check.max_kl.int4": 5.0,
    "check.max_score_loss.int4": 1.0,
    "train.save_every_steps": 3,
}
STAGES = (
    "validate",
    "convert",
    "dedup",
    "base",
    "format",
    "settings",
    "train",
    "merge",
    "tflite",
    "quantize@int8",
    "quantize@int4",
    "bundle@int8",
    "bundle@int4",
    "measure_float",
    "measure@int8",
    "measure@int4",
    "evaluate",
    "check",
    "report",
)


def build_reference(clone: Path) -> Path:
    """Runs every stage once, in a new clone; the CPU seconds that each took, DVC's too, are in
    `seconds.json`.
    """
    clone_working_tree(clone)
    for file in (clone / "data/raw").iterdir():
        file.write_text("".join(file.read_text().splitlines(keepends=True)[::EVERY]))
    set_params(clone, PARAMS)
    (clone / "dvc.lock").unlink()
    seconds = {}
    for stage in STAGES:
        before = cpu_seconds()
        said = repro(clone, stage)
        assert said.returncode == 0, said.stdout
        seconds[stage] = cpu_seconds() - before
    (clone / "seconds.json").write_text(json.dumps(seconds))
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "reference")
    return clone


def cpu_seconds() -> float:
    """Of all child processes so far."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def set_params(clone: Path, changes: dict) -> None:
    path = clone / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = params
        for parent in parents:
            section = section[parent]
        section[last] = value
    path.write_text(yaml.safe_dump(params))


def fork(reference: Path, folder: Path, stage: str | None) -> Path:
    """A copy of the reference in which `stage` and what comes after it have not run; None: all
    have.

    DVC can't restore them either: no run cache, no record in dvc.lock.
    """
    shutil.copytree(reference, folder, symlinks=True)
    if stage:
        locked = lock(folder)
        for later in STAGES[STAGES.index(stage) :]:
            for out in outs(reference, later):
                remove(folder / out)
            del locked["stages"][later]
        (folder / "dvc.lock").write_text(yaml.safe_dump(locked, sort_keys=False))
        remove(folder / ".dvc/cache/runs")
    return folder


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(clone: Path) -> dict:
    return yaml.safe_load((clone / "dvc.lock").read_text())


def outs(reference: Path, stage: str) -> list[str]:
    return [out["path"] for out in lock(reference)["stages"][stage]["outs"]]


def deps(reference: Path, stage: str) -> list[str]:
    """What a stage reads that others made, or that is raw data."""
    paths = [dep["path"] for dep in lock(reference)["stages"][stage]["deps"]]
    return [path for path in paths if not path.startswith("scripts/")]


def command(reference: Path, stage: str) -> list[str]:
    return lock(reference)["stages"][stage]["cmd"].split()


def repro(clone: Path, stage: str | None = None, **options) -> subprocess.CompletedProcess:
    """`dvc repro` of one stage alone, or of all."""
    return run(clone, ["dvc", "repro", *(["-s", stage] if stage else [])], **options)


def run(
    clone: Path, command: list[str], env: dict | None = None, **options
) -> subprocess.CompletedProcess:
    return subprocess.run(command, **popen(clone, env), **options, timeout=600)


def popen(clone: Path, env: dict | None = None) -> dict:
    """Arguments of subprocess: in the clone, this Python first in the PATH, all that is said in
    `stdout`.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "cwd": clone,
        "env": os.environ | {"PATH": path} | (env or {}),
        "text": True,
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
    }


def digest(path: Path) -> dict[str, str] | None:
    """{file: SHA-256} of a file or folder; None: not there."""
    if not path.exists():
        return None
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files(path)
    }


def differing(reference: Path, clone: Path, stage: str) -> list[str]:
    """Outputs of a stage that are not the reference's to the byte."""
    return [out for out in outs(reference, stage) if digest(clone / out) != digest(reference / out)]


def half_made(reference: Path, clone: Path, stage: str) -> list[str]:
    """Outputs of a stage that are there and are not the reference's."""
    return [out for out in differing(reference, clone, stage) if (clone / out).exists()]


def left_behind(clone: Path) -> list[str]:
    """Temporary files anywhere in the clone but in Git's and DVC's own folders."""
    files = (path.relative_to(clone) for path in clone.rglob("*.tmp"))
    return [str(path) for path in files if path.parts[0] not in (".git", ".dvc")]


def last_words(said: str) -> str:
    """What a person reads of a failed stage: its error, or the last line before DVC's."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    own = [line for line in lines if not line.startswith("ERROR: failed to reproduce")]
    return (errors or own or [""])[-1]


def files(path: Path) -> list[Path]:
    """A file, or the files in a folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
