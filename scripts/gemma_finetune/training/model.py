"""The model that `fit` trains: a backbone, and a loss that looks only at supervised positions."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from gemma_finetune.models.library import keras
from gemma_finetune.training.forward import check_architecture, hidden_states
from gemma_finetune.training.loss import chunk_limit, summed_loss

# (trainable, non-trainable, optimizer and metrics variables) of a training step, and
# (inputs, labels (B, S), weights (B, S)) of a batch
State = tuple[list[jax.Array], list[jax.Array], list[jax.Array], list[jax.Array]]
Data = tuple[dict[str, jax.Array], jax.Array, jax.Array]


class Forward(keras.layers.Layer):
    """The backbone's states at the supervised positions.

    It is a layer because Keras passes `training` down from the outermost layer that is called, and
    a training step calls the model's `call` directly. Without this layer the adapters would never
    learn that they are being trained.
    """

    def __init__(self, backbone: keras.Model, rematerialization: bool) -> None:
        super().__init__()
        self.backbone, self.rematerialization = backbone, rematerialization
        self.built = True

    def call(self, inputs: dict[str, jax.Array], training: bool | None = None) -> jax.Array:
        """token_ids, segment_ids (B, T) and positions (B, S) -> (B, S, D)."""
        hidden = hidden_states(
            self.backbone, inputs["token_ids"], inputs["segment_ids"], self.rematerialization
        )  # (B, T, D)
        return states_at(hidden, inputs["positions"])


def states_at(hidden: jax.Array, positions: jax.Array) -> jax.Array:
    """(B, T, D) states, (B, S) positions -> (B, S, D); 0 for a position past the end of the row.

    No position is twice in a row. Told so, XLA on a GPU need not sort the gradients to add them in
    the same order in every run.
    """
    rows = jnp.arange(len(hidden))[:, None]
    return hidden.at[rows, positions].get(mode="fill", fill_value=0, unique_indices=True)


class SupervisedModel(keras.Model):
    """A backbone whose `fit` minimizes the mean cross-entropy over supervised tokens.

    Inputs: token_ids, segment_ids (B, T) and positions (B, S); labels and sample weights (B, S).
    Each step reports `loss`, and in training `tokens` (supervised) and `grad_norm`. A training
    batch is computed in `accumulation_steps` equal parts, in the memory of one part; its gradient
    is that of the whole batch.

    UserError if the backbone is not the Gemma 3 that training knows.
    """

    def __init__(
        self, backbone: keras.Model, accumulation_steps: int = 1, rematerialization: bool = False
    ) -> None:
        super().__init__()
        check_architecture(backbone)
        self.accumulation_steps = accumulation_steps
        self.backbone, self.forward = backbone, Forward(backbone, rematerialization)
        self.token_loss = keras.metrics.Mean(name="loss")
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.token_loss]

    def call(self, inputs: dict[str, jax.Array], training: bool | None = None) -> jax.Array:
        return self.forward(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> jax.Array:
        """Mean loss: labels `y` (B, S), states `y_pred` (B, S, D), `sample_weight` (B, S)."""
        embeddings = self.backbone.token_embedding.embeddings  # (V, D)
        limit = math.inf if embeddings.trainable else chunk_limit()
        total = summed_loss(y_pred, embeddings.value, y, sample_weight, limit)
        return total / jnp.maximum(sample_weight.sum(), 1.0)

    def train_step(self, state: State, data: Data) -> tuple[dict[str, jax.Array], State]:
        trainable, _, optimizer, _ = state
        gradients = self._gradients if self.accumulation_steps == 1 else self._accumulated_gradients
        loss, grads, non_trainable, metrics = gradients(state, data)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)

        norm = jnp.sqrt(sum(jnp.sum(jnp.square(grad)) for grad in grads))
        logs = {"loss": loss, "grad_norm": norm, "tokens": data[2].sum()}
        return logs, (trainable, non_trainable, optimizer, metrics)

    def _gradients(self, state: State, data: Data) -> tuple:
        """(loss, its gradients, non-trainable variables, metrics variables) of a batch."""
        trainable, non_trainable, optimizer, metrics = state
        gradient = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        (loss, (_, _, non_trainable, metrics)), grads = gradient(
            trainable, non_trainable, metrics, *data, training=True, optimizer_variables=optimizer
        )
        return loss, grads, non_trainable, metrics

    def _accumulated_gradients(self, state: State, data: Data) -> tuple:
        """As `_gradients`, computed part by part.

        Parts hold unequal numbers of supervised tokens. Each part's mean is weighted by its share
        of the batch's tokens; a mean of means would weight the tokens unequally.
        """
        trainable, non_trainable, optimizer, metrics = state

        def split(array: jax.Array) -> jax.Array:  # (B, ...) -> (parts, B / parts, ...)
            parts = array.reshape(-1, self.accumulation_steps, *array.shape[1:])
            return parts.swapaxes(0, 1)

        tokens = jnp.maximum(data[2].sum(), 1.0)

        def add(sums: tuple, part: Data) -> tuple[tuple, None]:
            loss, grads, non_trainable, metrics = sums
            state = trainable, non_trainable, optimizer, metrics
            part_loss, part_grads, non_trainable, metrics = self._gradients(state, part)
            share = part[2].sum() / tokens
            loss = loss + share * part_loss
            pairs = zip(grads, part_grads, strict=True)
            grads = [total + share * grad for total, grad in pairs]
            return (loss, grads, non_trainable, metrics), None

        zeros = [jnp.zeros_like(variable) for variable in trainable]
        start = jnp.float32(0), zeros, non_trainable, metrics
        return jax.lax.scan(add, start, jax.tree.map(split, data))[0]

    def test_step(self, state: tuple, data: Data) -> tuple[dict[str, jax.Array], tuple]:
        """Validation; each batch's loss counts by its supervised tokens."""
        trainable, non_trainable, metrics = state
        loss, (_, _, non_trainable, metrics) = self.compute_loss_and_updates(
            trainable, non_trainable, metrics, *data, training=False
        )
        metrics = self.token_loss.stateless_update_state(metrics, loss, sample_weight=data[2].sum())
        logs = {"loss": self.token_loss.stateless_result(metrics)}
        return logs, (trainable, non_trainable, metrics)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        return self.get_metrics_result()
