import os

import pytest

from gemma_finetune.utils.quiet import quiet_unless_it_fails


def talk(line):
    """As compiled code does."""
    os.write(2, f"{line}\n".encode())


def test_holds_back_what_is_written_inside_and_only_there(capfd):
    talk("before")
    with quiet_unless_it_fails():
        talk("inside")
    talk("after")
    assert capfd.readouterr().err == "before\nafter\n"


def test_shows_it_when_the_block_fails(capfd):
    with pytest.raises(ImportError), quiet_unless_it_fails():
        talk("the cause")
        raise ImportError
    talk("later")
    assert capfd.readouterr().err == "the cause\nlater\n"


def test_leaves_no_descriptor_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with quiet_unless_it_fails():
            pass
    assert len(os.listdir("/proc/self/fd")) == before
