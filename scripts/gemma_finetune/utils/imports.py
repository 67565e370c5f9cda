"""Imports of large libraries, without the parts that are not used here.

TensorFlow is used by training for its input; everything else leaves it out.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any

from gemma_finetune.utils.quiet import quiet

_TENSORFLOW = ("tensorflow", "tensorflow_text")


def without_tensorflow() -> AbstractContextManager[None]:
    """Hides TensorFlow from what is imported in the block. It can be imported afterwards.

    mediapipe's bundler imports it for a decorator in its documentation: 4 of its 7 seconds.
    """
    return stand_ins(dict.fromkeys(_TENSORFLOW))


def without_unused() -> AbstractContextManager[None]:
    """Hides what keras and keras-hub import where it is installed, for parts that are not used.

    TensorFlow takes two seconds, 300 MB, and on a GPU the memory that JAX needs; the others take
    another second and 100 MB.
    """
    return stand_ins(dict.fromkeys(_TENSORFLOW + ("cv2", "matplotlib", "pandas", "rouge_score")))


@contextmanager
def stand_ins(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """In the block an import of these names gives these modules; for None it raises ImportError.

    For parts of libraries that are slow to import and not used here. What was imported before
    stays, and after the block the real ones can be imported.
    """
    placed = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(placed)  # type: ignore[arg-type]  # None makes `import` raise ImportError
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]


def import_tensorflow() -> Any:
    """TensorFlow on the CPU alone, because JAX needs the memory of a GPU; None if not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with quiet():
            import tensorflow as tf
    except ImportError:
        return None
    tf.config.set_visible_devices([], "GPU")
    return tf
