"""Bars that go on while a step lasts, also where standard error is discarded."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from gemma_finetune.utils import progress
from gemma_finetune.utils.quiet import quiet
from imports import SCRIPTS


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.02)


def test_a_block_that_counts_nothing_shows_a_clock(capfd):
    with progress.working("load the base"):
        time.sleep(0.2)
    assert capfd.readouterr().err.count("load the base: 00:00") > 2


def test_a_bar_is_drawn_while_one_step_lasts(capfd):
    for _ in progress.progress(range(2), "prompts on the base", 2):
        time.sleep(0.1)
    shown = capfd.readouterr().err
    assert shown.count("prompts on the base") > 4 and "0/2" in shown


def test_it_shows_where_a_block_discards_standard_error(capfd):
    with progress.working("load the converter"), quiet():
        os.write(2, b"noise of a library\n")
        time.sleep(0.1)
    shown = capfd.readouterr().err
    assert shown.count("load the converter") > 1 and "noise" not in shown


def test_a_bar_is_drawn_while_the_work_holds_pythons_lock(capfd):
    with progress.relay() as stream, progress.Bar(desc="convert", total=3, stream=stream) as bar:
        bar.update()
        time.sleep(0.5)  # the process starts
        ctypes.PyDLL(None).usleep(300_000)  # PyDLL keeps the lock
        busy = capfd.readouterr().err
    assert re.search(r"convert: +33% busy for 0 s", busy)
    assert "busy" not in capfd.readouterr().err


def test_the_process_that_draws_ends_with_the_one_that_works():
    """Even if that is killed."""
    code = (
        "import os, signal; from gemma_finetune.utils.progress import relay\n"
        "with relay() as stream: print('x', file=stream, flush=True); os.kill(os.getpid(), 9)"
    )
    # The test waits for the end of standard error, which the drawing process holds open.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "x\n")


def test_a_hidden_bar_starts_no_thread_and_closes(capfd):
    bar = progress.Bar(total=3, disable=True)
    bar.update()
    bar.close()
    assert capfd.readouterr().err == ""
