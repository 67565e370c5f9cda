"""What the machine offers: which device Keras on JAX runs on, how much memory was used, and determinism."""

import os
import resource


def set_deterministic() -> None:
    """Same inputs, same bytes, on a GPU too. Call before JAX starts; on a CPU it is so by itself."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def device_name() -> str:
    """The device that computes, in words: "cpu", or the kind of the first accelerator and how many there are."""
    import jax

    devices = jax.devices()
    return "cpu" if devices[0].platform == "cpu" else f"{len(devices)} x {devices[0].device_kind}"


def peak_memory() -> dict[str, float]:
    """Peak memory of this process in GB: "host" (resident set), and "device" where there is an accelerator."""
    import jax

    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        peak["device"] = stats["peak_bytes_in_use"] / 1e9
    return peak
