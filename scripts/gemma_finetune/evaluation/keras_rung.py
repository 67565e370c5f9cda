"""Logits of keras-hub models: the base, the base with its adapter on, and the merged model.

All in float32 with full-precision products (a GPU would use TF32 otherwise), so that a hop's figure
shows what the hop changed and not the arithmetic.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import keras
import numpy as np

from gemma_finetune.evaluation.dataset import Tokens
from gemma_finetune.formats.lora_file import check_fits, load_lora
from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.models.lora import apply_lora, set_adapter_weights

BATCH = 16  # sequences in one forward pass, as long as their logits stay small
LOGIT_BYTES = 256 << 20
LENGTH_STEP, POSITION_STEP = 64, 32  # shapes are rounded up to these: JAX compiles each new shape


def base_with_adapter(base: str | Path, adapter_path: str | Path) -> keras.Model:
    """The base model with `lora.npz` beside its weights, as training left it."""
    backbone, adapter = load_gemma_model(base), load_lora(adapter_path)
    adapters = apply_lora(backbone, adapter.config)
    shapes = {path: (layer.out_features, layer.in_features) for path, layer in adapters.items()}
    check_fits(adapter_path, adapter, base, shapes)
    set_adapter_weights(adapters, adapter.weights)
    return backbone


def keras_logits(backbone: keras.Model, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
    """For each sequence its logits (P, V) float32 at its positions."""
    size = max(1, min(BATCH, LOGIT_BYTES // (4 * backbone.vocabulary_size * POSITION_STEP)))
    variables = backbone.variables
    weights = [variable.value for variable in variables]

    @jax.jit
    def forward(
        weights: list[jax.Array], ids: jax.Array, mask: jax.Array, positions: jax.Array
    ) -> jax.Array:
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            hidden = backbone({"token_ids": ids, "padding_mask": mask})  # (B, T, D)
            wanted = jax.numpy.take_along_axis(hidden, positions[:, :, None], axis=1)  # (B, P, D)
            return logits(backbone, wanted)  # (B, P, V)

    with jax.default_matmul_precision("float32"):
        for start in range(0, len(sequences), size):
            batch = sequences[start : start + size]
            ids = _pad([s.ids for s in batch], size, LENGTH_STEP)
            mask = _pad([np.ones_like(s.ids) for s in batch], size, LENGTH_STEP)
            positions = _pad([s.positions for s in batch], size, POSITION_STEP)
            values = np.asarray(forward(weights, ids, mask, positions))
            # The last batch may be smaller than `size`: the rows after it are padding.
            for row, sequence in zip(values, batch, strict=False):
                yield row[: len(sequence.positions)]


def _pad(rows: list[np.ndarray], count: int, step: int) -> np.ndarray:
    """Rows of int32 as (count, n), zero-padded to the right, n rounded up to `step`."""
    longest = max(map(len, rows))
    padded = np.zeros((count, -(-longest // step) * step), np.int32)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
