import os
import signal
import subprocess
import sys

import pytest

from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import (
    aside,
    made_by,
    read_jsonl,
    require,
    write_json,
    write_jsonl,
)
from imports import SCRIPTS

ENVIRONMENT = os.environ | {"PYTHONPATH": str(SCRIPTS)}


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "out.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "out"
    for name in ("first", "second"):
        with aside(path) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [p.name for p in path.iterdir()] == ["second"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "kept").touch()
    with pytest.raises(RuntimeError):
        with aside(path) as temporary:
            temporary.mkdir()
            raise RuntimeError("disk full")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "kept"]


def test_a_file_in_place_of_a_folder_above_is_named(tmp_path):
    (tmp_path / "out").write_text("mine")
    for path in (tmp_path / "out/a.json", tmp_path / "out/b/a.json"):
        with pytest.raises(UserError, match=f"{path}: {tmp_path}/out is a file, not a folder$"):
            write_json(path, {})
    assert (tmp_path / "out").read_text() == "mine"


def test_jsonl_goes_both_ways_and_names_a_broken_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"a": "é\n"}, {"b": [1, 2]}]
    assert write_jsonl(path, rows) == 2
    assert list(read_jsonl(path)) == rows
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(UserError, match="rows.jsonl:2: not valid JSON"):
        list(read_jsonl(path))


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(UserError, match="dvc repro train.*dvc pull"):
        require(tmp_path / "lora.npz", "train")


def test_a_file_never_replaces_a_folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "kept").touch()
    with pytest.raises(UserError, match="is a folder; name a file"):
        write_json(folder, {})
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "kept"]


def test_invalid_utf8_is_named_by_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\xff\xfe\n')
    with pytest.raises(UserError, match=r"rows.jsonl:2: not valid JSON"):
        list(read_jsonl(path))


def test_a_folder_never_replaces_a_file(tmp_path):
    (tmp_path / "out").write_text("kept")
    with pytest.raises(UserError, match="is a file; name a folder"):
        with aside(tmp_path / "out") as temporary:
            temporary.mkdir()
    assert (tmp_path / "out").read_text() == "kept"


def test_other_files_of_the_workspace_are_removed_with_it(tmp_path):
    with aside(tmp_path / "model.tflite") as temporary:
        temporary.with_name("log").touch()
        temporary.write_text("model")
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_nothing_written_is_an_error_and_the_old_content_stays(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(FileNotFoundError):
        with aside(tmp_path / "out"):
            pass
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out", "old")]


KILLED = """
import os, sys
from pathlib import Path
from gemma_finetune.utils.files import aside
with aside(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of i")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "out [1].json"
    path.write_text("old")
    with subprocess.Popen([sys.executable, "-c", KILLED, path], env=ENVIRONMENT) as dead:
        # It has ended but is still listed, as in a container whose first process reaps none.
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
        write_json(path, {})
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert dead.returncode == -signal.SIGKILL


RUNNING = """
import sys
from gemma_finetune.utils.files import workspace
with workspace(sys.argv[1]) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_workspace_of_a_running_process_is_left_alone(tmp_path):
    """Two that write the same file do not disturb each other; the last one wins."""
    with subprocess.Popen(
        [sys.executable, "-c", RUNNING, tmp_path / "out"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        folder = other.stdout.readline().strip()
        write_json(tmp_path / "out", {})
        assert os.path.isdir(folder)
        other.stdin.close()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


WRITING = """
import sys
from gemma_finetune.utils.files import write_json
for _ in range(500):
    write_json(sys.argv[1], {})
"""


def test_processes_that_write_the_same_file_again_and_again_do_not_disturb_each_other(tmp_path):
    """Also in the moment in which one has made its workspace, and not yet locked it."""
    command = [sys.executable, "-c", WRITING, tmp_path / "out"]
    writers = [subprocess.Popen(command, env=ENVIRONMENT) for _ in range(4)]
    assert [writer.wait(timeout=100) for writer in writers] == [0] * 4
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("umask, mode", [(0o022, "644"), (0o077, "600"), (0o002, "664")])
def test_the_umask_is_honoured(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "out.json", {})
    finally:
        os.umask(before)
    assert f"{(tmp_path / 'out.json').stat().st_mode & 0o777:o}" == mode


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), IndexError("x"), TypeError("x"), AttributeError("x")]
)
def test_content_of_another_form_names_the_files_and_their_stage(error):
    with pytest.raises(UserError, match=r"a.json, b.json: not what the stage `validate` writes"):
        with made_by("validate", "a.json", "b.json"):
            raise error


@pytest.mark.parametrize("error", [UserError("x"), OSError(28, "No space left"), RuntimeError("x")])
def test_any_other_error_keeps_its_own_message(error):
    with pytest.raises(type(error)) as found, made_by("validate", "a.json"):
        raise error
    assert found.value is error
