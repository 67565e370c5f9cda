"""Faults around the stages: DVC's cache, and two at once."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from faults import dag

README = Path(__file__).with_name("README.md").read_text()
CHECK = next(line.strip() for line in README.splitlines() if "md5sum" in line)
DAMAGED = ("models/lora.npz", "models/merged/model.safetensors", "models/bundle/int8.task")
ROADS = {"again": [["dvc", "repro"]], "fetched": [["dvc", "pull"], ["dvc", "checkout", "--relink"]]}


def cache_entry(clone, file):
    digest = hashlib.md5((clone / file).read_bytes()).hexdigest()
    return clone / ".dvc/cache/files/md5" / digest[:2] / digest[2:]


def damage(path):
    """One bit, as a disk does it: name, size, times and mode stay."""
    content, was = path.read_bytes(), path.stat()
    middle = len(content) // 2
    path.chmod(0o644)
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    path.chmod(was.st_mode)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def all_as_before(reference, clone):
    wrong = [out for stage in dag.STAGES for out in dag.differing(reference, clone, stage)]
    return (
        wrong == []
        and dag.lock(clone) == dag.lock(reference)
        and dag.run(clone, ["bash", "-c", CHECK]).stdout == ""
    )


def test_a_lost_cache_entry_is_made_again(reference, tmp_path, observed):
    """The workspace's file is gone too, so nothing but running the stage again can give the adapter
    back.
    """
    clone = dag.fork(reference, tmp_path / "clone", None)
    cache_entry(clone, "models/lora.npz").unlink()
    (clone / "models/lora.npz").unlink()
    checkout = dag.run(clone, ["dvc", "checkout", "models/lora.npz"])
    assert checkout.returncode != 0 and not (clone / "models/lora.npz").exists()
    again = dag.repro(clone)
    assert again.returncode == 0, again.stdout
    assert all_as_before(reference, clone)
    observed(
        "cache entry lost", "train", "checkout refuses, repro runs the stage again: same bytes"
    )


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_cache_entry_is_found_and_made_good(reference, tmp_path, observed, file, road):
    """DVC does not look into what is read-only: it hands the file out and is content. README.md has
    what to do.
    """
    clone = dag.fork(reference, tmp_path / "clone", None)
    dag.run(
        clone, ["dvc", "remote", "modify", "--local", "shared", "url", str(tmp_path / "remote")]
    )
    if road == "fetched":
        dag.run(clone, ["dvc", "push"])
    entry = cache_entry(clone, file)
    damage(entry)
    (clone / file).unlink()
    handed_out = dag.run(clone, ["dvc", "checkout"])
    assert handed_out.returncode == 0 and dag.digest(clone / file) != dag.digest(reference / file)
    assert (
        "up to date" in dag.run(clone, ["dvc", "status"]).stdout
    )  # should DVC ever see it: mend README.md
    named = dag.run(clone, ["bash", "-c", CHECK]).stdout.splitlines()
    assert named[0] == f"{entry.parent.name}/{entry.name}: FAILED" and len(named) == 2, named
    entry.unlink()
    for command in ROADS[road]:
        said = dag.run(clone, command)
        assert said.returncode == 0, said.stdout
    assert all_as_before(reference, clone)
    observed("cache entry damaged", file, f"md5sum names it; {road}: same bytes")


@pytest.mark.parametrize(
    "file, reader", [("models/lora.npz", "merge"), ("models/bundle/int8.task", "measure@int8")]
)
def test_what_carries_a_digest_is_refused_by_its_reader(
    reference, tmp_path, observed, file, reader
):
    """A zip has a checksum of each entry, and `measure` compares what a bundle holds with the
    model beside it.
    """
    clone = dag.fork(reference, tmp_path / "clone", reader)
    damage(clone / file)
    said = dag.run(clone, dag.command(reference, reader))
    observed("a bit of its input", reader, dag.last_words(said.stdout))
    assert said.returncode == 1 and dag.last_words(said.stdout).startswith(f"error: {file}")


def test_dvc_sees_a_cache_entry_that_can_be_written_to(reference, tmp_path, observed):
    """Of a program that changed it: DVC looks into what is not read-only, and throws it away."""
    clone = dag.fork(reference, tmp_path / "clone", None)
    entry = cache_entry(clone, "models/lora.npz")
    entry.chmod(0o644)
    entry.write_bytes(entry.read_bytes()[:-100])
    said = dag.run(clone, ["dvc", "status"]).stdout
    assert "models/lora.npz" in said and not entry.exists()
    again = dag.repro(clone)
    assert again.returncode == 0, again.stdout
    assert all_as_before(reference, clone)
    observed(
        "cache entry written to", "train", "status names it, repro runs the stage again: same bytes"
    )


def test_two_at_once_do_not_mix(reference, tmp_path, observed):
    clone = dag.fork(reference, tmp_path / "clone", "convert")
    both = [subprocess.Popen(["dvc", "repro", "format"], **dag.popen(clone)) for _ in range(2)]
    said = [process.communicate(timeout=600)[0] for process in both]
    failed = [text for process, text in zip(both, said, strict=True) if process.returncode]
    observed(
        "two dvc repro at once",
        "convert to format",
        f"{len(failed)} refused",
        "; ".join(map(dag.last_words, failed)),
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
    said = [process.communicate(timeout=600)[0] for process in both]
    assert dag.half_made(reference, clone, "dedup") == [] and dag.left_behind(clone) == []
    ends = [process.returncode for process in both]
    observed("4 dedup.py at once", "dedup", f"exits {ends}", "one whole output")
    assert 0 in ends, said
