"""What the machine has and this process may take: memory, cores and disk.

The one place that tells operating systems apart for them. It knows a container's or a batch job's
limits of memory and of CPU time, and the cores that a process is bound to.
"""

import ctypes
import gc
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from gemma_finetune.utils.errors import UserError

OWN_CGROUPS = Path("/proc/self/cgroup")  # Linux only, like the other files here
CGROUPS = Path("/sys/fs/cgroup")
CPU_INFO = Path("/proc/cpuinfo")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc, malloc.h


def available_memory() -> int:
    """Bytes that this process can still take.

    What the machine has left, or less where a container or a batch job has a limit of its own.
    """
    left = [_memory_left(folder) for folder in _cgroups("memory")]
    return max(0, min([psutil.virtual_memory().available, *left]))


def _cgroups(controller: str) -> Iterator[Path]:
    """The folders of this process's cgroup and of all above it, whose limits hold as well.

    A line of OWN_CGROUPS is `0::/slurm/job_7` for version 2, and `4:memory:/slurm/job_7` for
    version 1. In a container the path may be the host's, and then only its root is there.
    """
    lines = OWN_CGROUPS.read_text().splitlines() if OWN_CGROUPS.is_file() else []
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers == "":
            root = CGROUPS
        elif controller in controllers.split(","):
            root = CGROUPS / controller
        else:
            continue
        own = root / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _memory_left(cgroup: Path) -> int:
    """The limit of a cgroup less what is used of it. sys.maxsize if it has no limit."""
    for limit_name, usage_name, prefix in (
        ("memory.max", "memory.current", ""),  # version 2
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),  # version 1
    ):
        limit = _read(cgroup / limit_name)
        if limit and limit != "max":
            usage = int(_read(cgroup / usage_name) or 0) - _cached_files(cgroup, prefix)
            return int(limit) - max(0, usage)
    return sys.maxsize


def _cached_files(cgroup: Path, prefix: str) -> int:
    """Bytes of files that are held in memory; the kernel drops them when memory is short."""
    names = {f"{prefix}active_file", f"{prefix}inactive_file"}
    stat = (line.split() for line in _read(cgroup / "memory.stat").splitlines())
    return sum(int(words[1]) for words in stat if len(words) == 2 and words[0] in names)


def _read(path: Path) -> str:
    """The content of a file, empty where there is none that may be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def peak_memory() -> int:
    """The largest resident set that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB on Linux


def check_memory(estimate: str, needed: float, what: str, advice: str) -> None:
    """Prints an estimate, beside the memory that is free. UserError if less is free than `needed`.

    what: that takes so much, as the message's subject. advice: what else to do about it.
    """
    available = available_memory()
    print(f"estimate: {estimate}; {available / 1e9:.1f} GB are free", flush=True)
    if needed > available:
        raise UserError(
            f"{what} takes about {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are "
            f"free: close other programs, or {advice}"
        )


def check_disk(folder: Path, needed: float, what: str, advice: str) -> None:
    """UserError if the disk of `folder` has less than `needed` bytes free.

    what, advice: as in `check_memory`.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: the disk has {show_bytes(free)} free, and {what} writes about "
            f"{show_bytes(needed)}; free some space, or {advice}"
        )


def show_bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def keep_freed_memory() -> None:
    """Keeps the memory that XLA frees after a step for the next one.

    Otherwise the kernel clears those pages again and again, which takes a quarter of the time. Call
    after `device.prepare_training` and once the model is loaded, or the holes that loading leaves
    are kept as well. For glibc, on Linux; elsewhere, as on macOS, it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Gives the system back what is no longer used, as a model that has done its part.

    Keras's objects refer to each other, so that only the garbage collector frees them. What glibc
    then holds back is returned as well; elsewhere, as on macOS, there is no need.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def count_cores() -> int:
    """The cores that this process may use: a container or a batch job can have fewer of them than
    the machine, or a quota of their time, as by `docker run --cpus 2`.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *map(_cpu_quota, _cgroups("cpu"))]))


def _cpu_quota(cgroup: Path) -> int:
    """How many cores' time a cgroup gets, rounded up. sys.maxsize if it has no limit."""
    quota, period = (_read(cgroup / "cpu.max").split() + ["", ""])[:2]  # version 2
    if not quota:
        quota, period = _read(cgroup / "cpu.cfs_quota_us"), _read(cgroup / "cpu.cfs_period_us")
    if not quota.isdecimal() or not period.isdecimal():  # "max", or -1: no limit
        return sys.maxsize
    return -(-int(quota) // int(period))


def has_amx() -> bool:
    """Whether the CPU has AMX, Intel's products of bfloat16 tiles."""
    return "amx_bf16" in _read(CPU_INFO)
