"""Memory of this process and of its machine, in bytes. The one place that knows the platform."""

import resource
import sys
from pathlib import Path

import psutil

# Of the container that the process runs in: cgroup v2 and v1. Neither file exists on macOS.
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_memory() -> int:
    """What this process can still take: what its machine has left, or its container's limit."""
    available = psutil.virtual_memory().available
    for path in CONTAINER_LIMITS:
        limit = path.read_text().strip() if path.exists() else "max"
        if limit != "max":
            available = min(available, int(limit))
    return available


def peak_memory() -> int:
    """The largest resident set that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB on Linux
