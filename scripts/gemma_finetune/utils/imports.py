"""Imports that leave a library out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Hides TensorFlow from what is imported in the block.

    keras-hub imports it where it is installed, for parts that are not used here: two seconds, 300 MB,
    and on a GPU the memory that JAX needs. mediapipe's bundler imports it for a decorator of its
    documentation: 4 of its 7 seconds. It can be imported afterwards.
    """
    names = ("tensorflow", "tensorflow_text")
    hidden = [name for name in names if sys.modules.setdefault(name, None) is None]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
