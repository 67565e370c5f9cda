"""Too little memory: the address space of a stage is limited, as `ulimit -v` does."""

import resource
import subprocess

import pytest

from faults import dag

GB = 1 << 30


@pytest.mark.parametrize("limit", [0.1, 0.5, 2, 4, 8, 16])
@pytest.mark.parametrize("stage", ["train", "tflite", "quantize@int8"])
def test_a_stage_with_too_little_memory_makes_the_right_file_or_none(
    reference, tmp_path, observed, stage, limit
):
    clone = dag.fork(reference, tmp_path / "clone", stage)
    ends, message = attempt(reference, clone, stage, int(limit * GB))
    observed("memory", stage, f"{limit} GB of addresses", ends, message)
    assert dag.half_made(reference, clone, stage) == []
    assert ends != "exit 0" or dag.differing(reference, clone, stage) == []
    assert ends != "killed" and (
        ends == "exit 0" or "error: " in message or stage == "quantize@int8"
    )
    again = dag.repro(clone, stage)
    assert again.returncode == 0 and dag.differing(reference, clone, stage) == [], again.stdout
    assert dag.left_behind(clone) == []


def attempt(reference, clone, stage, size):
    """How it ended, and what it said."""
    try:
        said = dag.run(
            clone,
            dag.command(reference, stage),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
            timeout=300,
        )
    except subprocess.TimeoutExpired:
        return "killed", "still running after five minutes"
    return f"exit {said.returncode}", dag.last_words(
        said.stdout
    ) if said.returncode else "the right file"
