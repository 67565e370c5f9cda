"""What a command costs, with all the processes it starts."""

import resource
import subprocess
import sys
import time


def measure(command, folder, **options):
    """(seconds, CPU seconds, peak MB) of a command and all its processes; shared pages are counted
    once.

    `options` are subprocess.Popen's. Ends the program if the command fails.
    """
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, **options)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu, peak / 1e6


def memory(pid):
    """Bytes that a process and its children hold now."""
    import psutil

    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:  # it has just ended
        pass
    return total
