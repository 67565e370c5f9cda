"""Settings of small adapters."""

from gemma_finetune.models.config import LoRAConfig


def lora_config(**changes) -> LoRAConfig:
    """Rank 4 on q_proj and v_proj, without dropout, but for the changes."""
    settings = {
        "rank": 4,
        "alpha": 8,
        "use_rslora": False,
        "dropout": 0.0,
        "targets": ("q_proj", "v_proj"),
        "quantization_aware": False,
    }
    return LoRAConfig(**settings | changes)
