"""Four simulated devices train as one does.

In a process of its own, because JAX counts devices when it starts.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gemma_finetune.training.distribution import refuse_job, set_distribution
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TRAIN = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, keras, jax
from gemma_finetune.config import load_section
from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import pack
from gemma_finetune.training.examples import Example
from gemma_finetune.training.distribution import set_distribution
from gemma_finetune.training.trainer import GemmaTrainer

base, kinds = Path(sys.argv[1]), sys.argv[2:]
config = replace(
    load_section("train", TrainingConfig), epochs=2, batch_size=4, gradient_accumulation_steps=2,
    sequence_length=64, warmup_steps=1, learning_rate=0.01)
lora = LoRAConfig(
    rank=4, alpha=8, use_rslora=False, dropout=0.1,
    targets=("q_proj", "v_proj", "o_proj", "down_proj"), quantization_aware=False)
ids = np.random.default_rng(0).integers(10, 60, (60, 20)).astype("int32")
rows = pack([Example(row, np.arange(20) > 2 + number % 17) for number, row in enumerate(ids)], 64)
results = {"devices": jax.device_count()}
for kind in kinds:
    keras.distribution.set_distribution(None)
    set_distribution(kind, base, config.batch_size)
    backbone = load_gemma_model(base)
    trainer = GemmaTrainer(backbone, lora, replace(config, rematerialization=kind != "none"))
    result = trainer.fit(rows, rows)
    block = backbone.transformer_layers[0]
    kernels = {
        "embedding": backbone.token_embedding.embeddings,
        "query": block.attention.query_dense.base.kernel,
        "value": block.attention.value_dense.base.kernel,
        "up": block.gating_ffw_2.kernel,
    }
    parts = {}
    for name, kernel in kernels.items():
        parts[name] = list(kernel.value.sharding.shard_shape(kernel.shape))
    losses = [row[2] for row in result.log.rows] + [result.metrics["val_loss"]]
    results[kind] = {"losses": losses, "parts": parts}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(base_dir):
    environment = os.environ | {
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4",
        "PYTHONPATH": str(ROOT / "scripts"),
    }
    kinds = ("none", "data_parallel", "model_parallel")
    command = [sys.executable, "-c", TRAIN, str(base_dir), *kinds]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["data_parallel", "model_parallel"])
def test_losses_are_those_of_one_device(results, kind):
    assert results["devices"] == 4
    np.testing.assert_allclose(results[kind]["losses"], results["none"]["losses"], rtol=1e-4)


def test_matrices_are_cut_where_they_divide(results):
    whole, cut = results["data_parallel"]["parts"], results["model_parallel"]["parts"]
    assert whole == {
        "embedding": [320, 32],
        "query": [4, 32, 16],
        "value": [1, 32, 16],
        "up": [32, 64],
    }
    assert cut == {
        "embedding": [80, 32],
        "query": [1, 32, 16],
        "value": [1, 32, 16],
        "up": [32, 16],
    }


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch, base_dir):
    monkeypatch.setattr("jax.device_count", lambda: 4)
    with pytest.raises(
        UserError, match="train.batch_size: 6 rows cannot be shared equally by 4 devices"
    ):
        set_distribution("data_parallel", base_dir, 6)


def test_processes_of_a_job_do_not_train_alone(monkeypatch):
    refuse_job()
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(
        UserError, match="KERAS_DISTRIBUTION_NUM_PROCESSES, KERAS_DISTRIBUTION_PROCESS_ID: set, but"
    ):
        refuse_job()
