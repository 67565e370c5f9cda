"""AdamW (Loshchilov & Hutter, 2019) with linear warm-up and cosine decay to zero."""

import keras

from gemma_finetune.training.config import TrainingConfig


def cosine_schedule(config: TrainingConfig, steps: int) -> keras.optimizers.schedules.CosineDecay:
    """Linear up to learning_rate over `warmup_steps`, then half a cosine down to 0 at step
    `steps`.
    """
    warmup = min(config.warmup_steps, steps - 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate
        / (warmup + 1),  # not 0, which would waste the first step
        decay_steps=max(steps - warmup, 1),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def make_optimizer(config: TrainingConfig, steps: int) -> keras.optimizers.AdamW:
    """AdamW over the adapter, clipped by global norm; state in float32, as the adapter is.

    All that is trained, and so decays, are the adapter's matrices: norms are frozen, and Gemma 3
    has no biases.
    """
    return keras.optimizers.AdamW(
        learning_rate=cosine_schedule(config, steps),
        weight_decay=config.weight_decay,
        beta_2=0.99,
        global_clipnorm=config.clip_norm,
    )
