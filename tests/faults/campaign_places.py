"""The whole DAG from nothing in odd places: the same bytes as anywhere else.

Each environment is odd in many ways at once; where one ever differs, take its settings apart by
hand.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clones import git
from faults import dag

FAKETIME = Path(
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
)  # Debian: apt-get install libfaketime
NOBODY = 65534


def clock(year):
    """Environment in which that year begins when the process does."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"@{year}-01-02 03:04:05",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


ENVIRONMENTS = {
    "clock at 1970, umask 077, hash seed 1, HOME not there": (
        "clone",
        0o077,
        None,
        clock(1970) | {"PYTHONHASHSEED": "1", "HOME": "/nonexistent", "TZ": "Pacific/Kiritimati"},
    ),
    "clock at 2040, odd path, C locale, hash seed random, as nobody without HOME": (
        "Fuß weg 日本 'x' [1]",
        0o002,
        NOBODY,
        clock(2040)
        | {"PYTHONHASHSEED": "random", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "HOME": "/proc/none"},
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_whole_dag_ends_in_the_same_bytes(reference, tmp_path, observed, name):
    assert FAKETIME.exists(), "the clock can't be set without libfaketime"
    folder, umask, user, env = ENVIRONMENTS[name]
    clone = dag.fork(reference, tmp_path / folder, dag.STAGES[0])
    dag.remove(clone / ".dvc/cache")
    git(clone, "config", "core.quotepath", "off")
    if user:  # pytest's folder lets only its owner in
        give_away(clone, user)
    said = subprocess.run(
        ["dvc", "repro"], umask=umask, user=user, group=user, **dag.popen(clone, env)
    )
    assert said.returncode == 0, said.stdout[-4000:]
    wrong = [out for stage in dag.STAGES for out in dag.differing(reference, clone, stage)]
    observed(
        "place",
        "all",
        name,
        f"differs: {', '.join(wrong)}" if wrong else "same bytes, same dvc.lock",
    )
    assert wrong == [] and dag.left_behind(clone) == []
    assert dag.lock(clone) == dag.lock(reference)
    closed = [
        p for p in clone.joinpath("models").rglob("*") if p.is_file() and p.stat().st_mode & umask
    ]
    assert closed == [], "the umask is not honoured"


def give_away(clone, user):
    for path in (clone, *clone.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)
    for parent in clone.parents[:3]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    try:
        subprocess.run([sys.executable, "-c", ""], user=user, group=user, check=True)
    except PermissionError:
        pytest.fail("this Python lies where only its owner looks: use one that all can run")


def test_three_runs_by_force_end_in_the_same_lock(reference, tmp_path, observed):
    clone = dag.fork(reference, tmp_path / "clone", None)
    for _ in range(3):
        said = dag.run(clone, ["dvc", "repro", "--force"])
        assert said.returncode == 0, said.stdout
        assert (clone / "dvc.lock").read_bytes() == (reference / "dvc.lock").read_bytes()
    observed("soak", "all", "3 x dvc repro -f", "the same dvc.lock to the byte")
