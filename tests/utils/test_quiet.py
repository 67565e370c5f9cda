import ctypes
import os
import subprocess
import sys

import psutil
import pytest

from gemma_finetune.utils.quiet import quiet, quiet_unless_it_fails, silent
from imports import SCRIPTS

BOTH = pytest.mark.parametrize("silence", [quiet, quiet_unless_it_fails, silent])


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


def test_standard_output_too_also_what_c_holds_back(capfd):
    with silent():
        os.write(1, b"inside")
        ctypes.CDLL(None).puts(b"held back")
        talk("inside")
    os.write(1, b"after")
    assert capfd.readouterr() == ("after", "")


def test_a_full_disk_under_standard_output_hides_no_error(tmp_path):
    code = """
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.quiet import quiet_unless_it_fails
def main():
    with quiet_unless_it_fails():
        print("progress")
        raise OSError(28, "No space left on device")
run(main, None)
"""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=SCRIPTS,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert "error: the disk is full" in done.stderr


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
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(3):
        with silence():
            pass
    assert process.num_fds() == before


def test_at_exit_python_still_prints_and_libraries_no_longer():
    code = """
import atexit, os, sys
from gemma_finetune.utils.quiet import quiet_at_exit
atexit.register(os.write, 2, b"library's end")
quiet_at_exit()
sys.exit("error: told")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (1, "error: told\n")
