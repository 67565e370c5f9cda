"""What the machine offers: which device Keras on JAX runs on, how much memory was used, and
determinism.
"""

import ctypes
import os
import resource

SMALL_MODEL = 256 << 20  # bytes of weights
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc, malloc.h


def prepare_training(weights: int) -> None:
    """Settings of XLA for a model of so many bytes of weights. Call before JAX starts.

    Same inputs, same bytes: on a GPU that has to be asked for. A small model's steps on a CPU are
    mostly overhead, which Eigen's matmuls in place of YNNPACK's make less of.
    """
    flags = {"xla_gpu_deterministic_ops": "true"}
    if weights < SMALL_MODEL:
        flags["xla_cpu_experimental_ynn_fusion_type"] = ""
    given = os.environ.get("XLA_FLAGS", "")  # the user's win
    ours = [f"--{name}={value}" for name, value in flags.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *ours]).strip()
    import jax

    # glibc keeps only what its first arena frees: see below. So a step must run on the thread that
    # calls it.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_freed_memory() -> None:
    """Lets XLA's buffers of one step serve the next; else the kernel clears their pages anew, a
    quarter of the time.

    Call after `prepare_training`, and once the model is loaded: the holes that loading leaves would
    be kept, too.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def device_name() -> str:
    """The device that computes, in words: "cpu", or the kind of the first accelerator and how many
    there are.
    """
    import jax

    devices = jax.devices()
    return "cpu" if devices[0].platform == "cpu" else f"{len(devices)} x {devices[0].device_kind}"


def peak_memory() -> dict[str, float]:
    """Peak memory of this process in GB: "host" (resident set), and "device" where there is an
    accelerator.
    """
    import jax

    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        peak["device"] = stats["peak_bytes_in_use"] / 1e9
    return peak
