"""Other platforms are played by patching what tells one from another."""

import resource
import sys
from types import SimpleNamespace

import psutil
import pytest

from gemma_finetune.utils import memory
from gemma_finetune.utils.memory import available_memory, peak_memory

FREE = 8 << 30


@pytest.fixture
def limits(tmp_path, monkeypatch):
    """(cgroup v2's file, cgroup v1's), neither there, on a machine with 8 GiB free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=FREE))
    files = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", files)
    return files


def test_both_are_sizes_of_this_machine():
    assert 10e6 < peak_memory() < 1e13
    assert 10e6 < available_memory() < 1e13


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_in_bytes_whatever_the_platform_counts_in(platform, unit, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3_000_000))
    assert peak_memory() == 3_000_000 * unit


def test_without_cgroups_it_is_what_the_machine_has_left(limits):
    assert available_memory() == FREE


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max", FREE), ("1073741824", 1 << 30), ("9223372036854771712", FREE)],
)
def test_a_container_s_limit_holds_where_it_is_smaller(limits, version, limit, expected):
    limits[version].write_text(f"{limit}\n")
    assert available_memory() == expected
