"""Hidden states of keras-hub models: the base, the base with its adapter, and the merged model.

All in float32 with full-precision products (a GPU would use TF32 otherwise), so that a hop's figure
shows what the hop changed and not the arithmetic.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from gemma_finetune.evaluation.dataset import Tokens
from gemma_finetune.formats.lora_file import check_fits, load_lora
from gemma_finetune.models.library import keras
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.models.lora import apply_lora, set_adapter_weights
from gemma_finetune.utils.rounding import round_up

BATCH = 16  # sequences in one forward pass
BATCH_TOKENS = 2048  # at most, padding included; a longer sequence is a batch of its own
LENGTH_STEP, POSITION_STEP = 64, 32  # shapes are rounded up to these: JAX compiles each new shape


def base_with_adapter(base: str | Path, adapter_path: str | Path) -> keras.Model:
    """The base model with `lora.npz` beside its weights, as training left it."""
    backbone, adapter = load_gemma_model(base), load_lora(adapter_path)
    adapters = apply_lora(backbone, adapter.config)
    shapes = {path: (layer.out_features, layer.in_features) for path, layer in adapters.items()}
    check_fits(adapter_path, adapter, base, shapes)
    set_adapter_weights(adapters, adapter.weights)
    return backbone


def hidden_states(backbone: keras.Model, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
    """For each sequence what the output head reads at its positions, (P, D) float32."""
    variables = backbone.variables
    weights = [variable.value for variable in variables]

    @jax.jit
    def forward(
        weights: list[jax.Array], ids: jax.Array, mask: jax.Array, positions: jax.Array
    ) -> jax.Array:
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            hidden = backbone({"token_ids": ids, "padding_mask": mask})  # (B, T, D)
            return jax.numpy.take_along_axis(hidden, positions[:, :, None], axis=1)  # (B, P, D)

    with jax.default_matmul_precision("float32"):
        for batch, size in _batches(sequences):
            ids = _pad([s.ids for s in batch], size, LENGTH_STEP)
            mask = _pad([np.ones_like(s.ids) for s in batch], size, LENGTH_STEP)
            positions = _pad([s.positions for s in batch], size, POSITION_STEP)
            hidden = np.asarray(forward(weights, ids, mask, positions), np.float32)
            # A batch may be smaller than `size`: the rows after it are padding.
            for row, sequence in zip(hidden, batch, strict=False):
                yield row[: len(sequence.positions)].copy()


def _batches(sequences: Sequence[Tokens]) -> Iterator[tuple[Sequence[Tokens], int]]:
    """Neighbouring sequences, and to how many rows they are padded."""
    start = 0
    while start < len(sequences):
        size = _batch_size(sequences[start : start + BATCH])
        yield sequences[start : start + size], size
        start += size


def _batch_size(candidates: Sequence[Tokens]) -> int:
    """How many of them fit into BATCH_TOKENS: BATCH, or half of it, or half of that, ..."""
    size = BATCH
    while size > 1:
        longest = round_up(max(len(s.ids) for s in candidates[:size]), LENGTH_STEP)
        if size * longest <= BATCH_TOKENS:
            break
        size //= 2
    return size


def _pad(rows: list[np.ndarray], count: int, step: int) -> np.ndarray:
    """Rows of int32 as (count, n), zero-padded to the right, n rounded up to `step`."""
    padded = np.zeros((count, round_up(max(map(len, rows)), step)), np.int32)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
