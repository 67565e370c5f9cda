"""Keras and keras-hub, imported without what they import for parts that are not used here.

All other modules take them from here.
"""

from gemma_finetune.utils.imports import without_unused

with without_unused():
    import keras as keras
    import keras_hub as keras_hub
