"""Logits of a model that is no longer in memory, as of the merged one, the reference of all.

Only the hidden states before the output head are kept, a few kilobytes a token. The logits, a
megabyte a token, are computed from them, a slice at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gemma_finetune.evaluation.dataset import TestSet, Tokens
from gemma_finetune.evaluation.measure import Outcome, measure
from gemma_finetune.formats.safetensors_file import mapped_tensor, open_weights
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside
from gemma_finetune.utils.progress import progress

EMBEDDINGS = "model.embed_tokens.weight"


@dataclass(frozen=True)
class HiddenStates:
    """hidden: (P, D) float32 of each sequence. embeddings: (V, D) float32, the output head."""

    hidden: Sequence[np.ndarray]
    embeddings: np.ndarray

    def logits(self, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
        """Slices (rows, V) of each sequence's logits."""
        for tokens, hidden in zip(sequences, self.hidden, strict=True):
            yield from head(hidden, tokens, self.embeddings)

    def beside(self, hidden: Sequence[np.ndarray], directory: Path) -> "HiddenStates":
        """Those of the model in `directory`. If its output head is this one's, as LoRA leaves it,
        it is in memory once.
        """
        embeddings = load_embeddings(directory)
        same = np.array_equal(embeddings, self.embeddings)
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
    return measure(
        test,
        logits,
        reference.logits(test.sequences),
        bar=lambda parts: progress(parts, f"{name}: logits", total),
    )


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


def load_embeddings(directory: Path) -> np.ndarray:
    """(V, D) float32, which are the output head, too. Read from the file as they are needed, unless
    it holds another type, as a base in bfloat16 does.
    """
    embeddings = mapped_tensor(directory / "model.safetensors", EMBEDDINGS)
    return embeddings.astype(np.float32, copy=False)


def head(hidden: np.ndarray, tokens: Tokens, embeddings: np.ndarray) -> Iterator[np.ndarray]:
    """Hidden states (P, D) of a sequence to slices (rows, V) of its logits."""
    for part in tokens.slices(len(embeddings)):
        yield hidden[part] @ embeddings.T
