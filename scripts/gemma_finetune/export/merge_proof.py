"""Proof of a merge: the merged model gives the logits of the base with its adapter, not the base's.

It compares logits on a few prompts, through Keras.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemma_finetune.formats.lora_file import Adapter
from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.models.lora import apply_lora, set_adapter_weights
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.machine import return_freed_memory
from gemma_finetune.utils.progress import progress, working

TOLERANCE = 1e-4  # of the largest logit; float32 rounding is about 1e-6


def prove_merge(
    base: Path, merged: Path, adapter: Adapter, prompts: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Largest logit differences over `prompts` (token ids, BOS first), by the largest logit.

    Returns {"merged_vs_lora", "merged_vs_base"}. UserError if the first is over 1e-4 or the second
    is 0.
    """
    with working("prove the merge: load the base"):
        backbone = load_gemma_model(base, dtype="float32")
    base_logits = _all_logits(backbone, prompts, "the base")
    set_adapter_weights(apply_lora(backbone, adapter.config), adapter.weights)
    lora_logits = _all_logits(backbone, prompts, "the base with its adapter")

    del backbone
    return_freed_memory()  # else two models would be in memory

    with working("prove the merge: load the merged model"):
        backbone = load_gemma_model(merged, dtype="float32")
    merged_logits = _all_logits(backbone, prompts, "the merged model")
    proof = {
        "merged_vs_lora": _difference(merged_logits, lora_logits),
        "merged_vs_base": _difference(merged_logits, base_logits),
    }
    if not proof["merged_vs_lora"] <= TOLERANCE:  # `not`, so that it catches nan
        raise UserError(
            f"merge: merged logits differ from the adapter's by {proof['merged_vs_lora']:.1e} "
            f"relative (at most {TOLERANCE:.0e}); models/lora.npz and models/base do not belong "
            "together"
        )
    if proof["merged_vs_base"] == 0:
        raise UserError(
            "merge: the merged model equals the base; the adapter in models/lora.npz has learned "
            "nothing"
        )
    return proof


def _all_logits(backbone: Any, prompts: Sequence[Sequence[int]], model: str) -> list[np.ndarray]:
    shown = progress(prompts, f"prove the merge: prompts on {model}", len(prompts))
    return [_logits(backbone, ids) for ids in shown]


def _logits(backbone: Any, ids: Sequence[int]) -> np.ndarray:
    token_ids = np.array([ids], "int32")  # (1, T)
    hidden = backbone({"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)})
    return np.asarray(logits(backbone, hidden))  # (1, T, V)


def _difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    largest_logit = max(np.abs(array).max() for array in theirs)
    largest_difference = max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))
    return float(largest_difference / largest_logit)
