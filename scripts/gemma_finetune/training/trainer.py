"""LoRA fine-tuning from packed rows to an adapter. Knows nothing of files."""

from dataclasses import dataclass

import keras
import numpy as np

from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.lora import adapter_weights, apply_lora
from gemma_finetune.training.callbacks import LoRASave, MemoryMonitor, MetricsLogger, Progress, StopOnNaN
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import Batches, PackedRows
from gemma_finetune.training.model import SupervisedModel
from gemma_finetune.training.optimizer import cosine_schedule, make_optimizer


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The adapter of the lowest validation loss, the log of the run, and its figures."""

    weights: dict[str, np.ndarray]
    log: MetricsLogger
    metrics: dict[str, float]


class GemmaTrainer:
    """Fine-tunes a keras-hub Gemma 3 backbone with LoRA; the backbone is changed in place.

    trainer = GemmaTrainer(backbone, lora_config, training_config)
    result = trainer.fit(train_rows, validation_rows)
    """

    def __init__(self, backbone, lora: LoRAConfig, config: TrainingConfig):
        keras.utils.set_random_seed(config.seed)
        self.config = config
        self.adapters = apply_lora(backbone, lora, seed=config.seed)
        self.model = SupervisedModel(backbone)

    def fit(self, train: PackedRows, validation: PackedRows | None) -> TrainingResult:
        """Trains for `epochs`, or until `max_steps`; validates before the first epoch and after each."""
        config = self.config
        batches = Batches(train, config.batch_size, seed=config.seed)
        held_out = Batches(validation, config.batch_size) if validation else None
        steps = min(len(batches) * config.epochs, config.max_steps or np.iinfo("int32").max)
        self.model.compile(optimizer=make_optimizer(config, steps), jit_compile=True)
        first = self._evaluate(held_out)
        save = LoRASave(self.adapters)
        log = MetricsLogger(cosine_schedule(config, steps), first)
        progress = Progress(steps, config.batch_size * train.token_ids.shape[1])
        self.model.fit(
            batches,
            epochs=-(-steps // len(batches)),
            validation_data=held_out,
            shuffle=False,
            verbose=0,
            callbacks=[StopOnNaN(), save, log, progress, MemoryMonitor(), _StopAfter(steps)],
        )
        return TrainingResult(weights=save.weights, log=log, metrics=self._metrics(train, log, save, first))

    def _evaluate(self, batches):
        return self.model.evaluate(batches, verbose=0, return_dict=True)["loss"] if batches else None

    def _metrics(self, train, log, save, first):
        fill = float((train.segment_ids > 0).mean())
        metrics = {
            "steps": len(log.rows),
            "loss": log.rows[-1][2],
            "supervised_tokens": sum(row[-1] for row in log.rows),
            "padding_fraction": round(1 - fill, 4),
            "trainable_parameters": sum(array.size for array in adapter_weights(self.adapters).values()),
        }
        if first is not None:
            metrics |= {
                "base_val_loss": round(first, 5),
                "val_loss": round(save.best, 5),
                "best_epoch": save.best_epoch,
            }
        return metrics


class _StopAfter(keras.callbacks.Callback):
    """Ends `fit` after a number of steps, within an epoch if need be."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        self.model.stop_training = self.left == 0
