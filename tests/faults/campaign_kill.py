"""kill -9 at random moments of each stage: of the stage's process alone, or of DVC and all its
children at once.
"""

import json
import os
import random
import signal
import time

import psutil
import pytest

from faults import dag

MOMENTS = 5


@pytest.mark.parametrize("stage", dag.STAGES)
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_killed_stage_runs_again_to_the_same_bytes(reference, tmp_path, observed, stage, moment):
    part = random.Random(f"{stage} {moment}").uniform(0.02, 0.98)
    victim = ("the stage", "DVC and all")[moment % 2]
    clone, part = killed_clone(reference, tmp_path, stage, part, victim)
    assert dag.half_made(reference, clone, stage) == []
    assert running_in(clone) == []
    again = dag.repro(clone, stage)
    assert again.returncode == 0, again.stdout
    assert dag.differing(reference, clone, stage) == [] and dag.left_behind(clone) == []
    assert dag.lock(clone)["stages"][stage] == dag.lock(reference)["stages"][stage]
    observed(
        "kill -9",
        stage,
        f"{victim}, at {part:.0%}",
        "same bytes" + ", resumed" * ("goes on" in again.stdout),
    )


def killed_clone(reference, folder, stage, part, victim):
    """A clone in which a stage was killed at `part` of its CPU time; sooner, where it ended
    before.
    """
    whole = json.loads((reference / "seconds.json").read_text())[stage]
    for attempt in range(6):
        clone = dag.fork(reference, folder / f"clone{attempt}", stage)
        if kill(clone, stage, part * whole, victim):
            return clone, part
        part /= 2
    raise AssertionError(f"{stage} always ended too soon")


def kill(clone, stage, seconds, victim):
    """Starts a stage and kills it when it and DVC have used so much CPU time; False if it ended
    before.
    """
    process = psutil.Popen(
        ["dvc", "repro", "-s", stage], start_new_session=True, **dag.popen(clone)
    )
    deadline = time.monotonic() + 600
    while process.poll() is None:
        assert time.monotonic() < deadline, f"dvc repro -s {stage} still runs after 600 s"
        family = [process, *process.children(recursive=True)]
        stages = [child for child in family if "scripts/" in " ".join(command(child))]
        if stages and sum(map(cpu_seconds, family)) >= seconds:
            if victim == "the stage":
                for child in stages:
                    child.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.03)
    process.communicate(timeout=600)
    return process.returncode != 0


def command(process):
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended
        return []


def cpu_seconds(process):
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0.0


def running_in(clone, patience=5):
    """Command lines of processes that still work in the clone, after some seconds to end."""
    left = []
    for _ in range(10 * patience):
        left = [
            p.info for p in psutil.process_iter(["cwd", "cmdline"]) if p.info["cwd"] == str(clone)
        ]
        if not left:
            break
        time.sleep(0.1)
    return left
