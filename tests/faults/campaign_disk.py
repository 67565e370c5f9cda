"""A full disk, and a folder that can't be written to, in each stage. Needs root: the clone lies on
a small tmpfs.
"""

import shutil
import subprocess

import pytest

from faults import dag


@pytest.fixture
def disk(tmp_path):
    """Mounts a tmpfs, and changes its size: disk(free bytes)."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2g", "none", place], check=True, timeout=600
    )

    def resize(free):
        used = shutil.disk_usage(place).used
        subprocess.run(
            ["mount", "-o", f"remount,size={used + free}", place], check=True, timeout=600
        )

    yield place, resize
    subprocess.run(["umount", "-l", place], check=True, timeout=600)


@pytest.mark.parametrize("part", [0, 0.5])
@pytest.mark.parametrize("stage", dag.STAGES)
def test_a_full_disk_ends_in_a_plain_message_and_nothing_half_made(
    reference, disk, observed, stage, part
):
    place, resize = disk
    clone = dag.fork(reference, place / "clone", stage)
    size = sum(
        file.stat().st_size
        for out in dag.outs(reference, stage)
        for file in dag.files(reference / out)
    )
    resize(int(size * part))
    said = dag.run(clone, dag.command(reference, stage), env={"TMPDIR": str(place)})
    assert dag.half_made(reference, clone, stage) == [] and dag.left_behind(clone) == []
    assert said.returncode != 0 or dag.differing(reference, clone, stage) == []
    message = dag.last_words(said.stdout) if said.returncode else "there was room"
    observed("disk full", stage, f"{part:.0%} of its output fits", message)
    assert not said.returncode or message.startswith("error: the disk is full")
    assert "Traceback" not in said.stdout
    resize(1 << 30)
    again = dag.repro(clone, stage)
    assert again.returncode == 0, again.stdout
    assert dag.differing(reference, clone, stage) == []


@pytest.mark.parametrize("stage", dag.STAGES)
def test_a_read_only_disk_ends_in_a_plain_message(reference, disk, observed, stage):
    place, _ = disk
    clone = dag.fork(reference, place / "clone", stage)
    subprocess.run(["mount", "-o", "remount,ro", place], check=True, timeout=600)
    said = dag.run(clone, dag.command(reference, stage))
    assert said.returncode != 0 and dag.half_made(reference, clone, stage) == []
    message = dag.last_words(said.stdout)
    observed("read-only", stage, "", message)
    assert message.startswith("error: the disk can only be read")
    assert "Traceback" not in said.stdout
    subprocess.run(["mount", "-o", "remount,rw", place], check=True, timeout=600)
