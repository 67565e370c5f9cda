import subprocess
import sys

import pytest

from gemma_finetune.utils.imports import without_tensorflow
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


def test_the_bundler_of_mediapipe_can_do_without():
    code = """
import sys
from gemma_finetune.utils.imports import without_tensorflow
with without_tensorflow():
    from mediapipe.tasks.python.genai import bundler
assert bundler.create_bundle and "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True, timeout=60)


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
