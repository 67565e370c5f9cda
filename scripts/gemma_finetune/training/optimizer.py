"""AdamW (Loshchilov & Hutter, 2019) with linear warm-up and cosine decay to zero."""

from gemma_finetune.models.library import keras
from gemma_finetune.training.config import TrainingConfig


def cosine_schedule(config: TrainingConfig, steps: int) -> keras.optimizers.schedules.CosineDecay:
    """Linear up to `learning_rate` over `warmup_steps`, then half a cosine down to 0 at `steps`."""
    warmup = min(config.warmup_steps, steps - 1)
    return keras.optimizers.schedules.CosineDecay(
        # Not 0, which would waste the first step
        initial_learning_rate=config.learning_rate / (warmup + 1),
        decay_steps=max(steps - warmup, 1),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def make_optimizer(config: TrainingConfig, steps: int) -> keras.optimizers.AdamW:
    """AdamW for the adapter, clipped by global norm, with its state in float32 like the adapter.

    Only the adapter's matrices are trained and so decay: norms are frozen, and Gemma 3 has no
    biases.
    """
    return keras.optimizers.AdamW(
        learning_rate=cosine_schedule(config, steps),
        weight_decay=config.weight_decay,
        beta_2=config.beta_2,
        global_clipnorm=config.clip_norm,
    )
