import os

import pytest

from gemma_finetune.utils.gpu import prepare_training


@pytest.mark.parametrize("given", ["", "--xla_gpu_deterministic_ops=false --xla_cpu_max_isa=AVX2"])
def test_flags_are_added_to_those_of_the_user_which_win(given, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    prepare_training()
    prepare_training()  # a second call adds nothing
    flags = os.environ["XLA_FLAGS"].split()
    assert flags[: len(given.split())] == given.split()
    assert len(flags) == len({flag.split("=")[0] for flag in flags})
    assert any(flag.startswith("--xla_cpu_experimental_ynn_fusion_type=") for flag in flags)
