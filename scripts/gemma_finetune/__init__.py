import os

# Keras reads its backend when first imported, so it is set before any module of this package can import it.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
