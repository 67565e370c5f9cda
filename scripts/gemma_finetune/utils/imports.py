"""TensorFlow, which training uses for its input and everything else leaves out."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gemma_finetune.utils.quiet import quiet


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Hides TensorFlow from what is imported in the block. It can be imported afterwards.

    keras-hub imports it if it is installed, for parts that are not used here: two seconds, 300 MB,
    and on a GPU the memory that JAX needs. mediapipe's bundler imports it for a decorator in its
    documentation: 4 of its 7 seconds.
    """
    hidden = [name for name in ("tensorflow", "tensorflow_text") if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import` raise ImportError
    try:
        yield
    finally:
        for name in hidden:
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
