"""Logits of a model that is no longer in memory, as of the merged one, the reference of all.

Only the hidden states before the output head are kept, a few kilobytes a token. The logits, a
megabyte a token, are computed from them, a slice at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

from gemma_finetune.evaluation.dataset import TestSet, Tokens
from gemma_finetune.evaluation.measure import Outcome, measure
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside
from gemma_finetune.utils.progress import progress

EMBEDDINGS = "model.embed_tokens.weight"
ROW_STEP = 32  # rows are rounded up to it: JAX compiles each new shape


@dataclass(frozen=True)
class HiddenStates:
    """hidden: (P, D) float32 of each sequence. embeddings: (V, D) float32, the output head."""

    hidden: Sequence[np.ndarray]
    embeddings: jax.Array

    def logits(self, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
        """Slices (rows, V) of each sequence's logits."""
        for tokens, hidden in zip(sequences, self.hidden, strict=True):
            yield from head(hidden, tokens, self.embeddings)

    def beside(self, hidden: Sequence[np.ndarray], directory: Path) -> "HiddenStates":
        """Those of the model in `directory`. If its output head is this one's, as LoRA leaves it,
        it is in memory once.
        """
        embeddings = load_embeddings(directory)
        same = jax.numpy.array_equal(embeddings, self.embeddings)
        return HiddenStates(hidden, self.embeddings if same else embeddings)

    def save(self, path: Path) -> None:
        """Writes the hidden states; models/merged has the embeddings."""
        with aside(path) as temporary:
            save_file({"hidden": np.concatenate(self.hidden)}, temporary)


def compare(
    name: str, test: TestSet, logits: Iterable[np.ndarray], reference: HiddenStates
) -> Outcome:
    """A rung's slices of logits beside the merged model's, with a bar."""
    total = test.count_slices(len(reference.embeddings))
    shown = progress(logits, f"{name}: logits", total)
    return measure(test, shown, reference.logits(test.sequences))


def load_reference(path: Path, merged: Path, sequences: Sequence[Tokens]) -> HiddenStates:
    """What `save` wrote. UserError if it is not of these sequences."""
    with open_weights(path) as file:
        hidden = file.get_tensor("hidden")
    lengths = [len(tokens.positions) for tokens in sequences]
    embeddings = load_embeddings(merged)
    if hidden.shape != (sum(lengths), embeddings.shape[1]):
        raise UserError(
            f"{path}: has hidden states of {len(hidden)} tokens, the test set has {sum(lengths)}; "
            "run `dvc repro measure_float`"
        )
    return HiddenStates(np.split(hidden, np.cumsum(lengths)[:-1]), embeddings)


def load_embeddings(directory: Path) -> jax.Array:
    """(V, D) float32, which are the output head, too."""
    with open_weights(directory / "model.safetensors") as file:
        return jax.numpy.asarray(file.get_tensor(EMBEDDINGS), np.float32)


def head(hidden: np.ndarray, tokens: Tokens, embeddings: jax.Array) -> Iterator[np.ndarray]:
    """Hidden states (P, D) of a sequence to slices (rows, V) of its logits.

    By JAX, since numpy's threads wait for each other on a busy machine.
    """
    for part in tokens.slices(len(embeddings)):
        rows = hidden[part]
        padded = np.zeros((-(-len(rows) // ROW_STEP) * ROW_STEP, rows.shape[1]), np.float32)
        padded[: len(rows)] = rows
        with jax.default_matmul_precision("float32"):
            yield np.asarray(_project(padded, embeddings))[: len(rows)]


@jax.jit
def _project(hidden: jax.Array, embeddings: jax.Array) -> jax.Array:
    """(rows, D) and (V, D) -> (rows, V)"""
    return jax.numpy.einsum("pd,vd->pv", hidden, embeddings)
