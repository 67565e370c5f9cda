"""From lora.npz on, every x86-64 CPU with AVX2 makes the same bytes.

Other CPUs are played by the variables that tell OpenBLAS, torch, oneDNN, MKL and numpy which
instructions to use. Here the rest of a CPU stays what it is; docs/machines.md has the digests, and
what was seen on real ones.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from gemma_finetune.formats.lora_file import base_digest, save_lora
from gemma_finetune.models.config import LoRAConfig
from imports import ROOT

pytestmark = pytest.mark.slow

AVX2 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
AVX512 = {"OPENBLAS_CORETYPE": "SkylakeX"}  # all else as the CPU has it
ZEN = {"OPENBLAS_CORETYPE": "Zen"}


def threads(count):
    return {"OMP_NUM_THREADS": str(count), "OPENBLAS_NUM_THREADS": str(count)}


CONVERTING = [AVX2 | threads(1), AVX512 | threads(2)]
NUMPY_ALONE = [AVX512 | threads(1), ZEN | threads(2)]
SECONDS = 300  # for one process, on a busy machine


@pytest.fixture(scope="module")
def lora(talkative, tmp_path_factory):
    """An adapter of rank 8 on every projection of the shared model."""
    from gemma_finetune.export.merge import target_shapes

    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    config = LoRAConfig(
        rank=8,
        alpha=12,
        use_rslora=True,
        dropout=0.0,
        targets=targets,
        quantization_aware=False,
    )
    rng = np.random.default_rng(0)
    weights = {}
    for module, (rows, columns) in target_shapes(talkative, targets).items():
        weights[f"{module}.lora_A"] = rng.normal(0, 0.1, (8, columns))
        weights[f"{module}.lora_B"] = rng.normal(0, 0.1, (rows, 8))
    path = tmp_path_factory.mktemp("lora") / "lora.npz"
    save_lora(path, weights, config, base_digest(talkative))
    return path


def digests(base, lora, folder, environment, *options):
    """{what: SHA-256} of a run of the chain in a process of its own."""
    folder.mkdir()
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "tests")])}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "export_chain.py", base, lora, folder, *options],
        env=os.environ | paths | {"PYTHONHASHSEED": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_cpu_makes_the_same_bytes(talkative, lora, tmp_path):
    first, second = (
        digests(talkative, lora, tmp_path / f"converting-{number}", environment, "--convert")
        for number, environment in enumerate(CONVERTING)
    )
    assert len(first) == 10 and second == first
    for number, environment in enumerate(NUMPY_ALONE):
        found = digests(talkative, lora, tmp_path / f"numpy-{number}", environment)
        assert found.items() <= first.items(), environment
