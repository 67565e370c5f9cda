from dataclasses import replace
from pathlib import Path

import pytest

from gemma_finetune.config import load_section
from gemma_finetune.training.config import TrainingConfig


@pytest.fixture(scope="session")
def train_config():
    """The defaults of params.yaml, with changes."""
    config = load_section("train", TrainingConfig, str(Path(__file__).parents[2] / "params.yaml"))
    return lambda **changes: replace(config, **changes)
