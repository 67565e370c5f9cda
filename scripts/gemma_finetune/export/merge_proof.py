"""Proof of a merge: the merged model says what the base with its adapter says, and not what the
base says.
"""

import gc
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gemma_finetune.formats.lora_file import Adapter
from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.models.lora import apply_lora, set_adapter_weights
from gemma_finetune.utils.cli import UserError

TOLERANCE = 1e-4  # of the largest logit; float32 rounding is about 1e-6


def prove_merge(
    base: Path, merged: Path, adapter: Adapter, prompts: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Largest logit differences over `prompts` (token ids, BOS first), relative to the largest
    logit.

    Returns {"merged_vs_lora", "merged_vs_base"}. UserError if the first exceeds 1e-4 or the second
    is 0.
    """
    backbone = load_gemma_model(base, dtype="float32")
    base_logits = [_logits(backbone, ids) for ids in prompts]
    set_adapter_weights(apply_lora(backbone, adapter.config), adapter.weights)
    lora_logits = [_logits(backbone, ids) for ids in prompts]
    del backbone
    gc.collect()  # Keras models are cycles: two of them would be in memory
    backbone = load_gemma_model(merged, dtype="float32")
    merged_logits = [_logits(backbone, ids) for ids in prompts]
    proof = {
        "merged_vs_lora": _difference(merged_logits, lora_logits),
        "merged_vs_base": _difference(merged_logits, base_logits),
    }
    if not proof["merged_vs_lora"] <= TOLERANCE:  # nan, too
        raise UserError(
            f"merge: merged logits differ from the adapter's by {proof['merged_vs_lora']:.1e} relative "
            f"(at most {TOLERANCE:.0e}); models/lora.npz and models/base do not belong together"
        )
    if proof["merged_vs_base"] == 0:
        raise UserError(
            "merge: the merged model equals the base; the adapter in models/lora.npz has learned nothing"
        )
    return proof


def _logits(backbone, ids):
    ids = np.array([ids], "int32")  # (1, T)
    hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    return np.asarray(logits(backbone, hidden))


def _difference(ours, theirs):
    largest = max(np.abs(array).max() for array in theirs)
    return float(max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) / largest)
