"""Keras on JAX: how it is set up for training, which device computes, what it took of memory."""

import os

from gemma_finetune.utils import machine

SMALL_MODEL = 256 << 20  # bytes of weights


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

    # Run each step on the calling thread: machine.keep_freed_memory works only for glibc's first
    # arena.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def device_name() -> str:
    """The device that computes: "cpu", or count and kind of accelerators ("1 x NVIDIA H100")."""
    import jax

    devices = jax.devices()
    return "cpu" if devices[0].platform == "cpu" else f"{len(devices)} x {devices[0].device_kind}"


def peak_by_device() -> dict[str, float]:
    """Peak memory of this process in GB: "host" (resident set), and "device" if not the CPU."""
    import jax

    peak = {"host": machine.peak_memory() / 1e9}
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        peak["device"] = stats["peak_bytes_in_use"] / 1e9
    return peak
