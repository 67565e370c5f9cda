import os

import pytest

from gemma_finetune.utils.gpu import SMALL_MODEL, prepare_training


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
