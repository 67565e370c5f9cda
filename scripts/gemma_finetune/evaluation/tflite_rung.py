"""Logits of a `.tflite`, one decode step a scored token, as a device computes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gemma_finetune.evaluation.dataset import Tokens
from gemma_finetune.runtime.tflite_model import TFLiteModel
from gemma_finetune.runtime.threads import thread_count


def tflite_logits(path: str | Path, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
    """Slices (rows, V) float32 of each sequence's logits at its positions.

    No sequence may be longer than the model's cache.
    """
    model = TFLiteModel(path, thread_count(path))
    for sequence in sequences:
        model.reset()
        for part in sequence.slices(model.vocabulary_size):
            rows = [_logits_at(model, sequence, position) for position in sequence.positions[part]]
            yield np.stack(rows)


def _logits_at(model: TFLiteModel, sequence: Tokens, position: int) -> np.ndarray:
    """(V,) after the token at `position`, which is read, with those before it."""
    model.prefill(sequence.ids[model.position : position].tolist())
    return model.decode(int(sequence.ids[position]))
