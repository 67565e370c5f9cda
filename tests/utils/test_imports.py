import subprocess
import sys
from types import ModuleType

import pytest

from gemma_finetune.utils.imports import stand_ins, without_tensorflow
from imports import SCRIPTS


@pytest.fixture
def tensorflow(tmp_path, monkeypatch):
    """A small package of that name, not yet imported."""
    for name in ("tensorflow", "tensorflow_text"):
        (tmp_path / f"{name}.py").write_text("version = 'a stand-in'\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)


def test_hides_tensorflow_in_the_block_only(tensorflow):
    with without_tensorflow():
        for name in ("tensorflow", "tensorflow_text"):
            with pytest.raises(ImportError):
                __import__(name)
    import tensorflow as found

    assert found.version == "a stand-in"


def test_blocks_can_be_nested_and_may_fail(tensorflow):
    with without_tensorflow():
        with pytest.raises(RuntimeError), without_tensorflow():
            raise RuntimeError
        with pytest.raises(ImportError):
            import tensorflow  # noqa: F401
    assert "tensorflow" not in sys.modules


def test_what_is_imported_already_stays(tensorflow):
    import tensorflow as before

    with without_tensorflow():
        import tensorflow as inside

        assert inside is before
    assert sys.modules["tensorflow"] is before


def test_a_module_stands_in_for_another_in_the_block_only(tensorflow):
    with stand_ins({"tensorflow": ModuleType("in its place"), "tensorflow_text": None}):
        import tensorflow as inside

        with pytest.raises(ImportError):
            import tensorflow_text  # noqa: F401
    import tensorflow as after

    assert (inside.__name__, after.version) == ("in its place", "a stand-in")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["keras_private", "lora", "loader"])
def test_models_do_without_and_load_in_silence(module):
    """Whichever of them is imported first."""
    code = f"""
import sys
import gemma_finetune.config, gemma_finetune.models.{module}
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
