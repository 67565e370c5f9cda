import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_finetune.utils.device import SMALL_MODEL, prepare_training

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("given", ["", "--xla_gpu_deterministic_ops=false --xla_cpu_max_isa=AVX2"])
def test_flags_are_added_to_those_of_the_user_which_win(given, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    prepare_training(weights=1000)
    prepare_training(weights=1000)  # a second call adds nothing
    flags = os.environ["XLA_FLAGS"].split()
    assert flags[: len(given.split())] == given.split()
    assert len(flags) == len({flag.split("=")[0] for flag in flags})
    assert any(flag.startswith("--xla_cpu_experimental_ynn_fusion_type=") for flag in flags)


def test_a_large_model_keeps_the_usual_settings(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    prepare_training(weights=SMALL_MODEL)
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"


@pytest.mark.skipif(sys.platform != "linux", reason="keep_freed_memory is for glibc")
def test_freed_memory_serves_the_next_step():
    """64 MB of buffers a step are 16,000 pages; the kernel clears them only for the first steps.

    Now and then for a later one, too: something small has settled in the memory kept for it.
    """
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        timeout=300,
    )
    first, *others = map(int, done.stdout.split())
    assert first > 16_000 and sum(others) < len(others) * 16_000 / 2


STEPS = """
import resource
from gemma_finetune.utils.device import prepare_training
from gemma_finetune.utils.machine import keep_freed_memory
prepare_training(weights=0)
import jax, jax.numpy as jnp
keep_freed_memory()
step = jax.jit(lambda x: jax.lax.optimization_barrier(jnp.outer(x, x)).sum())
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(jnp.arange(4096.0)).block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
