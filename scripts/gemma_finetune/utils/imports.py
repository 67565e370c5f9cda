"""Imports that leave a library out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
