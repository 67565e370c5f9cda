"""Imports that leave a library out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gemma_finetune.utils.quiet import quiet_unless_it_fails


def load_tensorflow_quietly() -> None:
    """Imports TensorFlow if it is installed, without its notes on oneDNN and CUDA.

    Keras imports it at the first `fit`, and then the notes would stand in the progress bar.
    """
    with quiet_unless_it_fails(), suppress(ImportError):
        import tensorflow  # noqa: F401


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
