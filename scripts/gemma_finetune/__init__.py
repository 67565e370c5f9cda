import os

from gemma_finetune.utils.cli import end_at_once_while_loading, explain_limits, refuse_few_addresses

end_at_once_while_loading()
explain_limits()
refuse_few_addresses()
# Keras reads its backend when first imported, so it is set before any module of this package can import it.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
