import pytest

from gemma_finetune.runtime import threads
from gemma_finetune.runtime.threads import thread_count


@pytest.fixture
def model(tmp_path):
    """Makes a sparse file of a size."""

    def make(size):
        path = tmp_path / "model.tflite"
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    return make


def test_a_setting_decides(model):
    assert thread_count(model(0), 3) == 3
    assert thread_count(model(threads.SMALL), 7) == 7


def test_a_small_model_runs_on_one_thread(model):
    assert thread_count(model(threads.SMALL - 1)) == 1


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (64, 4)])
def test_a_large_model_gets_a_thread_a_core_up_to_four(model, monkeypatch, cores, expected):
    monkeypatch.setattr(threads, "count_cores", lambda: cores)
    assert thread_count(model(threads.SMALL)) == expected
