import os

import pytest

from gemma_finetune.runtime.threads import MOST, SMALL, thread_count


@pytest.fixture
def model(tmp_path):
    """Makes a sparse file of so many bytes."""

    def make(size):
        path = tmp_path / "model.tflite"
        path.touch()
        os.truncate(path, size)
        return path

    return make


def test_a_small_model_gets_one_thread(model, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert thread_count(model(SMALL - 1)) == 1


@pytest.mark.parametrize("cores, threads", [(None, 1), (1, 1), (2, 2), (4, 4), (64, MOST)])
def test_a_larger_one_gets_a_thread_for_each_core_up_to_four(model, monkeypatch, cores, threads):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert thread_count(model(SMALL)) == threads


@pytest.mark.parametrize("size", [0, SMALL])
def test_the_user_s_setting_wins(model, size):
    assert thread_count(model(size), setting=7) == 7
