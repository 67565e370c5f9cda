"""A child process that hangs ends the test that started it, with its command in the message."""

import ast
import time

import pytest

from clones import run
from imports import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))
# What waits for a process to end. Popen's two are told from others' by their missing arguments.
WAITING = ("subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output")
WAITING_METHODS = ("communicate", "wait")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_wait_for_a_child_process_has_a_time_limit(path):
    endless = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and waits(node):
            if "timeout" not in [keyword.arg for keyword in node.keywords]:
                endless.append(f"line {node.lineno}: {ast.unparse(node.func)}")
    assert endless == []


def waits(call):
    if ast.unparse(call.func) in WAITING:
        return True
    is_method = isinstance(call.func, ast.Attribute) and call.func.attr in WAITING_METHODS
    return is_method and not call.args


def test_a_command_that_hangs_is_named_and_ends_with_all_that_it_started(tmp_path):
    """Its grandchild would hold the pipe open for a minute."""
    start = time.monotonic()
    with pytest.raises(AssertionError, match=r"(?s)`sh -c .*` still runs after 1 s.*began"):
        run(tmp_path, "sh", "-c", "echo began; sleep 60; echo ended", seconds=1)
    assert time.monotonic() - start < 20
