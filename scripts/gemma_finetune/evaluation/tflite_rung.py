"""Logits of a `.tflite`, one decode step a scored token, as a device computes them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gemma_finetune.evaluation.dataset import Tokens
from gemma_finetune.inference.tflite_model import TFLiteModel

SMALL = 64 << 20  # bytes; a step of a smaller model is over before a second thread has woken


def threads(path: str | Path) -> int:
    """How many threads a model or bundle of this size runs fastest on."""
    return 1 if Path(path).stat().st_size < SMALL else os.cpu_count() or 1


def tflite_logits(path: str | Path, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
    """For each sequence its logits (P, V) float32 at its positions. Needs sequences within the cache length."""
    model = TFLiteModel(path, threads(path))
    for sequence in sequences:
        model.reset()
        rows = []
        for position in sequence.positions:
            model.prefill(sequence.ids[model.position : position].tolist())
            rows.append(model.decode(int(sequence.ids[position])))
        yield np.stack(rows)
