"""Faults around the stages: DVC's cache, and two at once."""

import subprocess

import pytest

from faults import dag


@pytest.mark.parametrize("harm", ["missing", "corrupted"])
def test_a_cache_entry_that_is_lost_is_made_again(reference, tmp_path, observed, harm):
    """The workspace is gone too, so nothing but running the stage again can give the adapter back."""
    clone = dag.fork(reference, tmp_path / "clone", None)
    md5 = next(out["md5"] for out in dag.lock(clone)["stages"]["train"]["outs"] if out["path"] == "models/lora.npz")
    entry = clone / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    entry.chmod(0o644)
    if harm == "missing":
        entry.unlink()
    else:
        entry.write_bytes(entry.read_bytes()[:-100] + bytes(100))
    (clone / "models/lora.npz").unlink()
    checkout = dag.run(clone, ["dvc", "checkout", "models/lora.npz"])
    there = (clone / "models/lora.npz").exists()
    same = there and dag.differing(reference, clone, "train") == []
    observed(
        "cache entry " + harm, "train", "dvc checkout", f"exit {checkout.returncode}: {dag.last_words(checkout.stdout)}"
    )
    assert checkout.returncode != 0 or same
    assert not there or same
    again = dag.repro(clone)
    assert again.returncode == 0, again.stdout
    assert [out for stage in dag.STAGES for out in dag.differing(reference, clone, stage)] == []
    observed("cache entry " + harm, "train", "dvc repro", "the stage runs again: same bytes")


def test_two_at_once_do_not_mix(reference, tmp_path, observed):
    clone = dag.fork(reference, tmp_path / "clone", "convert")
    both = [subprocess.Popen(["dvc", "repro", "format"], **dag.popen(clone)) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    failed = [text for process, text in zip(both, said, strict=True) if process.returncode]
    observed(
        "two dvc repro at once", "convert to format", f"{len(failed)} refused", "; ".join(map(dag.last_words, failed))
    )
    assert all("lock" in text for text in failed)
    again = dag.repro(clone)
    assert again.returncode == 0, again.stdout
    assert [out for stage in dag.STAGES for out in dag.differing(reference, clone, stage)] == []
    assert dag.left_behind(clone) == []


def test_two_of_one_stage_at_once_by_hand_leave_one_whole_output(reference, tmp_path, observed):
    """DVC's lock is not there: each writes in a folder of its own, and the last rename counts."""
    clone = dag.fork(reference, tmp_path / "clone", "dedup")
    both = [subprocess.Popen(dag.command(reference, "dedup"), **dag.popen(clone)) for _ in range(4)]
    said = [process.communicate()[0] for process in both]
    assert dag.half_made(reference, clone, "dedup") == [] and dag.left_behind(clone) == []
    ends = [process.returncode for process in both]
    observed("4 dedup.py at once", "dedup", f"exits {ends}", "one whole output")
    assert 0 in ends, said
