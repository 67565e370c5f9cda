import ast
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
@pytest.mark.parametrize("script", ["base", "chat", "measure_float", "merge", "train"])
def test_scripts_load_keras_in_silence_and_without_what_it_does_not_need(script):
    code = f"""
import sys
import {script}
import gemma_finetune.models.loader  # chat.py does so where it opens a directory
for name in ("tensorflow", "matplotlib", "cv2", "pandas"):
    assert name not in sys.modules, name
import pandas, rouge_score
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_keras_is_imported_in_one_place():
    """Whichever module is imported first, Keras then comes without its unused parts."""
    found = {path.name for path in SCRIPTS.rglob("*.py") if {"keras", "keras_hub"} & imported(path)}
    assert found == {"library.py", "keras_private.py"}  # which takes library.py's first


def imported(path):
    """The top-level names of what a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
