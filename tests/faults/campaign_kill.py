"""kill -9 at random moments of each stage: of the stage's process alone, or of DVC and all its children at once."""

import json
import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from faults import dag

MOMENTS = 5


@pytest.mark.parametrize("stage", dag.STAGES)
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_killed_stage_runs_again_to_the_same_bytes(reference, tmp_path, observed, stage, moment):
    clone = dag.fork(reference, tmp_path / "clone", stage)
    whole = random.Random(f"{stage} {moment}").uniform(0.02, 0.98)
    seconds = whole * json.loads((reference / "seconds.json").read_text())[stage]
    victim = ("the stage", "DVC and all")[moment % 2]
    ended = kill(clone, stage, seconds, victim)
    assert dag.half_made(reference, clone, stage) == []
    assert running_in(clone) == []
    again = dag.repro(clone, stage)
    assert again.returncode == 0, again.stdout
    assert dag.differing(reference, clone, stage) == [] and dag.left_behind(clone) == []
    assert dag.lock(clone)["stages"][stage] == dag.lock(reference)["stages"][stage]
    resumed = "goes on" if "goes on" in again.stdout else ""
    observed("kill -9", stage, f"{victim} at {whole:.0%}", ended, "same bytes", resumed)


def kill(clone, stage, seconds, victim):
    """Starts a stage and kills it after so many seconds; returns "killed", or "too late"."""
    process = subprocess.Popen(["dvc", "repro", "-s", stage], start_new_session=True, **dag.popen(clone))
    time.sleep(seconds)
    if process.poll() is not None:
        return "too late"
    if victim == "the stage":
        for child in psutil.Process(process.pid).children(recursive=True):
            if "scripts/" in " ".join(child.cmdline()):
                child.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return "killed" if process.returncode else "too late"


def running_in(clone, patience=5):
    """Command lines of processes that still work in the clone, after some seconds to end."""
    left = []
    for _ in range(10 * patience):
        left = [p.info for p in psutil.process_iter(["cwd", "cmdline"]) if p.info["cwd"] == str(clone)]
        if not left:
            break
        time.sleep(0.1)
    return left
