import os
import subprocess
import sys

import pytest

from gemma_finetune.utils.quiet import quiet, quiet_unless_it_fails
from imports import SCRIPTS

BOTH = pytest.mark.parametrize("silence", [quiet, quiet_unless_it_fails])


def talk(line):
    """As compiled code does."""
    os.write(2, f"{line}\n".encode())


@BOTH
def test_holds_back_what_is_written_inside_and_only_there(capfd, silence):
    talk("before")
    with silence():
        talk("inside")
    talk("after")
    assert capfd.readouterr().err == "before\nafter\n"


def test_throws_it_away_even_when_the_block_fails(capfd):
    with pytest.raises(ImportError), quiet():
        talk("noise")
        raise ImportError
    talk("later")
    assert capfd.readouterr().err == "later\n"


def test_shows_it_when_the_block_fails(capfd):
    with pytest.raises(ImportError), quiet_unless_it_fails():
        talk("the cause")
        raise ImportError
    talk("later")
    assert capfd.readouterr().err == "the cause\nlater\n"


@BOTH
def test_leaves_no_descriptor_open(silence):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with silence():
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_at_exit_python_still_prints_and_libraries_no_longer():
    code = """
import atexit, os, sys
from gemma_finetune.utils.quiet import quiet_at_exit
atexit.register(os.write, 2, b"library's end")
quiet_at_exit()
sys.exit("error: told")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: told\n")
