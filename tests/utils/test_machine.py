"""Other platforms, containers and batch jobs are played by files and by patched functions."""

import resource
import shutil
import sys
from types import SimpleNamespace

import psutil
import pytest

from gemma_finetune.utils import machine
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.machine import (
    available_memory,
    check_disk,
    check_memory,
    peak_memory,
)

FREE = 8 << 30
GB = 1 << 30
V2 = "memory.max", "memory.current", "inactive_file"
V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
NO_LIMIT = {V2: "max", V1: 9223372036854771712}
MOUNT = {V2: ".", V1: "memory"}


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Makes cgroups, on a machine with 8 GiB free: `cgroups(lines of /proc/self/cgroup)`."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=FREE))
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")

    def make(*lines):
        (tmp_path / "own").write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / "fs"

    return make


def write_cgroup(folder, version, limit, usage=0, cache=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / version[0]).write_text(f"{limit}\n")
    (folder / version[1]).write_text(f"{usage}\n")
    active = version[2].replace("inactive", "active")
    stat = f"anon 7\n{version[2]} {cache // 4}\n{active} {cache - cache // 4}\nunevictable 0\nodd\n"
    (folder / "memory.stat").write_text(stat)


def own_lines(version, path):
    """/proc/self/cgroup of a process at `path`."""
    if version is V2:
        return [f"0::{path}"]
    return ["9:name=systemd:/else", f"4:memory,hugetlb:{path}", "1:cpu:/", "0::/"]


def test_both_are_sizes_of_this_machine():
    assert 10e6 < peak_memory() < 1e13
    assert 10e6 < available_memory() < 1e13


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_in_bytes_whatever_the_platform_counts_in(platform, unit, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3_000_000))
    assert peak_memory() == 3_000_000 * unit


def test_without_cgroups_it_is_what_the_machine_has_left(cgroups):
    assert available_memory() == FREE
    cgroups("0::/")
    assert available_memory() == FREE


@pytest.mark.parametrize("version", [V2, V1])
def test_a_limit_counts_less_what_is_used_of_it_page_cache_aside(cgroups, version):
    root = cgroups(*own_lines(version, "/slurm/uid_0/job_7")) / MOUNT[version]
    own = root / "slurm/uid_0/job_7"
    write_cgroup(root, version, NO_LIMIT[version], 20 * GB)
    write_cgroup(own, version, NO_LIMIT[version], 3 * GB)
    assert available_memory() == FREE
    write_cgroup(own, version, 4 * GB, 3 * GB, GB)
    assert available_memory() == 2 * GB
    write_cgroup(own, version, 4 * GB, 5 * GB)
    assert available_memory() == 0


@pytest.mark.parametrize("version", [V2, V1])
def test_the_smallest_of_all_limits_above_holds(cgroups, version):
    root = cgroups(*own_lines(version, "/slurm/uid_0/job_7")) / MOUNT[version]
    write_cgroup(root / "slurm/uid_0/job_7", version, 6 * GB)
    write_cgroup(root / "slurm", version, 5 * GB, 4 * GB)
    assert available_memory() == GB


@pytest.mark.parametrize("version", [V2, V1])
@pytest.mark.parametrize("path", ["/", "/docker/0123", "/../../kubepods/pod7"])
def test_in_a_container_the_root_is_its_own_cgroup(cgroups, version, path):
    root = cgroups(*own_lines(version, path)) / MOUNT[version]
    write_cgroup(root, version, 2 * GB, GB)
    assert available_memory() == GB


def test_what_is_not_enough_is_refused_after_the_estimate(cgroups, capsys):
    check_memory("9 s, 8.0 GB of memory", 8e9, "baking", "buy a cake")
    assert capsys.readouterr().out == "estimate: 9 s, 8.0 GB of memory; 8.6 GB are free\n"
    with pytest.raises(UserError) as raised:
        check_memory("9 s", 9e9, "baking", "buy a cake")
    assert str(raised.value) == (
        "baking takes about 9.0 GB of memory and 8.6 GB are free: close other programs, "
        "or buy a cake"
    )
    assert capsys.readouterr().out == "estimate: 9 s; 8.6 GB are free\n"


def test_a_disk_without_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=7_600_000))
    check_disk(tmp_path, 7.6e6, "baking", "bake less")
    with pytest.raises(UserError) as raised:
        check_disk(tmp_path, 9e9, "baking", "bake less")
    assert str(raised.value) == (
        f"{tmp_path}: the disk has 7.6 MB free, and baking writes about 9.0 GB; "
        "free some space, or bake less"
    )


@pytest.mark.parametrize("flags", ["sse2 amx_bf16 amx_tile", "sse2 avx512f"])
def test_amx_is_a_flag_of_the_cpu(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert not machine.has_amx()
    (tmp_path / "cpuinfo").write_text(f"model name\t: some\nflags\t\t: {flags}\n")
    assert machine.has_amx() == ("amx_bf16" in flags)


def test_cores_are_counted_where_a_job_cannot_be_bound_to_some(cgroups, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert machine.count_cores() == 1


QUOTAS = {  # 1.5 cores' time, and no limit
    V2: ({"cpu.max": "150000 100000"}, {"cpu.max": "max 100000"}),
    V1: (
        {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"},
        {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
    ),
}


@pytest.mark.parametrize("version", [V2, V1])
@pytest.mark.parametrize("path", ["/", "/slurm/job_7", "/../../kubepods/pod7"])
def test_a_quota_of_cpu_time_counts_as_so_many_cores_rounded_up(
    cgroups, version, path, monkeypatch
):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(64), raising=False)
    line = f"0::{path}" if version is V2 else f"3:cpu,cpuacct:{path}"
    root = cgroups("4:memory:/else", line) / {V2: ".", V1: "cpu"}[version]
    assert machine.count_cores() == 64
    root.mkdir(parents=True)
    limited, unlimited = QUOTAS[version]
    for files, cores in ((unlimited, 64), (limited, 2)):
        for name, content in files.items():
            (root / name).write_text(f"{content}\n")
        assert machine.count_cores() == cores
