"""Logits of a `.tflite`, one decode step a scored token, as a device computes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gemma_finetune.evaluation.dataset import Tokens
from gemma_finetune.runtime.tflite_model import TFLiteModel
from gemma_finetune.runtime.threads import thread_count


def tflite_logits(path: str | Path, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
    """For each sequence its logits (P, V) float32 at its positions.

    No sequence may be longer than the model's cache.
    """
    model = TFLiteModel(path, thread_count(path))
    for sequence in sequences:
        model.reset()
        rows = []
        for position in sequence.positions:
            model.prefill(sequence.ids[model.position : position].tolist())
            rows.append(model.decode(int(sequence.ids[position])))  # (V,)
        yield np.stack(rows)
