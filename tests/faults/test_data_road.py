"""Quick faults, on the real scripts of validate, convert and dedup; `make faults` does the same to
all stages.
"""

import os
import resource
import shutil
import subprocess
import sys

import pytest

from faults import dag
from imports import ROOT, SCRIPTS

pytestmark = pytest.mark.slow

ROAD = ("validate", "convert", "dedup")
READS = {"convert": "data/validated/records.jsonl", "dedup": "data/converted/conversations.jsonl"}
WRITES = {"validate": "data/validated", "convert": "data/converted", "dedup": "data/deduped"}
SIZE = 20_000  # bytes that a file may have: less than each stage writes


def run(stage, folder, **options):
    command = [sys.executable, str(SCRIPTS / f"{stage}.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)


def start(folder):
    """A folder with parameters and a part of the sample."""
    (folder / "data/raw").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    for file in (ROOT / "data/raw").iterdir():
        lines = file.read_text().splitlines(keepends=True)[::10]
        (folder / "data/raw" / file.name).write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which the three have run. Read only."""
    folder = start(tmp_path_factory.mktemp("road") / "made")
    for stage in ROAD:
        assert run(stage, folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("name", "umask", "env"),
    [
        (
            "plain",
            0o077,
            {
                "LC_ALL": "C",
                "PYTHONHASHSEED": "1",
                "HOME": "/nonexistent",
                "TZ": "Pacific/Kiritimati",
            },
        ),
        (
            "Fuß weg 日本 'x' [1]",
            0o002,
            {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "random", "PYTHONUTF8": "0"},
        ),
    ],
)
def test_odd_places_give_the_same_bytes(made, tmp_path, name, umask, env):
    folder = start(tmp_path / name)
    for stage in ROAD:
        done = run(stage, folder, umask=umask, env=os.environ | env)
        assert done.returncode == 0, done.stderr
        assert dag.digest(folder / WRITES[stage]) == dag.digest(made / WRITES[stage])
    files = [path for path in (folder / "data/deduped").iterdir()]
    assert files and not [path for path in files if path.stat().st_mode & umask]


@pytest.mark.parametrize("stage", ROAD)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(made, tmp_path, stage):
    """As the disk says it: the stage may write SIZE bytes to a file. (`make faults` fills a real
    one.)
    """
    folder = shutil.copytree(made, tmp_path / "copy")
    before = dag.digest(folder)
    done = run(
        stage, folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))
    )
    assert done.returncode == 1 and done.stderr.startswith(
        "error: the disk is full: free some space"
    )
    assert done.stderr.count("\n") == 1 and dag.digest(folder) == before


@pytest.mark.parametrize("stage", READS)
@pytest.mark.parametrize("damage", ["cut short", "empty", "missing", "of another stage"])
def test_a_damaged_input_is_refused_and_leaves_what_was_there(made, tmp_path, stage, damage):
    folder = shutil.copytree(made, tmp_path / "copy")
    path = folder / READS[stage]
    content = path.read_bytes()
    path.write_bytes(
        {"cut short": content[: len(content) // 2], "of another stage": b'{"id": 1}\n'}.get(
            damage, b""
        )
    )
    if damage == "missing":
        path.unlink()
    done = run(stage, folder)
    assert (
        done.returncode == 1
        and done.stderr.startswith("error: ")
        and "Traceback" not in done.stderr
    ), done.stderr
    assert dag.digest(folder / WRITES[stage]) == dag.digest(made / WRITES[stage])
