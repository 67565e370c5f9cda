"""What the machine offers Keras on JAX: settings, the device that computes, memory used."""

import ctypes
import os

from gemma_finetune.utils import memory

SMALL_MODEL = 256 << 20  # bytes of weights
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc, malloc.h


def prepare_training(weights: int) -> None:
    """Sets XLA's flags for a model of `weights` bytes. Call before JAX starts.

    The same inputs give the same bytes: a GPU has to be asked for that. A small model's steps on a
    CPU are mostly overhead, and Eigen's matmuls have less of it than YNNPACK's. Flags that the user
    has set in XLA_FLAGS are kept.
    """
    flags = {"xla_gpu_deterministic_ops": "true"}
    if weights < SMALL_MODEL:
        flags["xla_cpu_experimental_ynn_fusion_type"] = ""
    given = os.environ.get("XLA_FLAGS", "")
    ours = [f"--{name}={value}" for name, value in flags.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *ours]).strip()

    import jax

    # Run each step on the calling thread: keep_freed_memory works only for glibc's first arena.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_freed_memory() -> None:
    """Keeps the memory that XLA frees after a step for the next one.

    Otherwise the kernel clears those pages again and again, which takes a quarter of the time. Call
    after `prepare_training` and once the model is loaded, or the holes that loading leaves are kept
    as well. For glibc, on Linux; elsewhere, as on macOS, it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def device_name() -> str:
    """The device that computes: "cpu", or count and kind of accelerators ("1 x NVIDIA H100")."""
    import jax

    devices = jax.devices()
    return "cpu" if devices[0].platform == "cpu" else f"{len(devices)} x {devices[0].device_kind}"


def peak_memory() -> dict[str, float]:
    """Peak memory of this process in GB: "host" (resident set), and "device" if not the CPU."""
    import jax

    peak = {"host": memory.peak_memory() / 1e9}
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        peak["device"] = stats["peak_bytes_in_use"] / 1e9
    return peak
