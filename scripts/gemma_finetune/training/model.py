"""The training model: keras-hub's backbone, and a loss that looks only at supervised positions.

Logits are computed only there, in chunks, each with its gradient: no (batch, length, vocabulary)
array ever exists, which for Gemma's 262,144 tokens is most of the memory and half of the time.
"""

import math

import jax
import jax.numpy as jnp
import keras

from gemma_finetune.models.projection import project
from gemma_finetune.training.attention import BLOCK, blockwise_attention

CHUNK_BYTES = (
    256 << 20
)  # of one chunk's float32 logits; smaller ones read the embedding more often than they use it


def hidden_states(backbone, token_ids, segment_ids, rematerialization=False):
    """(B, T) ids -> (B, T, D) states after the final norm; attention stays inside each segment.

    The same arithmetic, layer objects included, as calling the backbone, but with a mask that its
    own call can't take, made once for all layers. Positions run on through a packed row: RoPE only
    sees their differences. With rematerialization a backward pass keeps each layer's input only,
    and computes the rest again.
    """
    x = backbone.token_embedding(token_ids)
    x = x * jnp.sqrt(backbone.hidden_dim).astype(x.dtype)
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    mask = same & jnp.tril(jnp.ones(same.shape[1:], bool))  # (B, T, T)
    run = _rematerialized_block if rematerialization else _decoder_block
    for block in backbone.transformer_layers:
        x = run(block, x, mask)
    return backbone.layer_norm(x)


def _rematerialized_block(block, x, mask):
    """Variables go in and dropout's seeds come out by hand: what is traced here lives in no scope
    of Keras outside.
    """
    seeds = [
        layer.seed_generator.state
        for layer in block._flatten_layers()
        if getattr(layer, "seed_generator", None)
    ]

    @jax.checkpoint
    def run(values, x, mask):
        with keras.StatelessScope(list(zip(block.variables, values, strict=True))) as scope:
            return _decoder_block(block, x, mask), [scope.get_current_value(seed) for seed in seeds]

    x, drawn = run([variable.value for variable in block.variables], x, mask)
    for seed, value in zip(seeds, drawn, strict=True):
        seed.assign(value)
    return x


def _decoder_block(block, x, mask):
    x = x + block.post_attention_norm(
        _attention(block.attention, block.pre_attention_norm(x), mask)
    )
    y = block.pre_ffw_norm(x)
    y = keras.activations.gelu(project(block.gating_ffw, y), approximate=True) * project(
        block.gating_ffw_2, y
    )
    return x + block.post_ffw_norm(project(block.ffw_linear, y))


def _attention(layer, x, mask):
    query = layer.rope_layer(layer.query_norm(project(layer.query_dense, x)))
    key = layer.rope_layer(layer.key_norm(project(layer.key_dense, x)))
    value = project(layer.value_dense, x)
    attend = _attend_on_cpu if jax.default_backend() == "cpu" else _attend
    return project(layer.output_dense, attend(layer, query, key, value, mask).astype(x.dtype))


def _attend(layer, query, key, value, mask):
    return layer._compute_attention(query, key, value, mask)


def _attend_on_cpu(layer, query, key, value, mask):
    """In float32: a CPU has no fast kernel for these small products in bfloat16. Long rows go block
    by block.
    """
    query, key, value = (state.astype(jnp.float32) for state in (query, key, value))
    if mask.shape[-1] <= BLOCK:
        return _attend(layer, query, key, value, mask)
    size = (
        layer.head_dim
        if layer.query_head_dim_normalize
        else layer.hidden_dim // layer.num_query_heads
    )
    window = layer.sliding_window_size if layer.use_sliding_window_attention else None
    return blockwise_attention(query / math.sqrt(size), key, value, mask, window)


def summed_loss(hidden, embeddings, labels, weights, chunk_bytes=math.inf):
    """Sum over positions of weight x cross-entropy, in float32.

    hidden (B, S, D), embeddings (V, D), labels, weights (B, S). Logits of more than `chunk_bytes`
    are worked off in chunks, each the next positions of every row; those without weight cost
    nothing. `embeddings` must be frozen then.
    """
    rows, places = labels.shape
    size = max(
        1, int(min(places, chunk_bytes // (4 * embeddings.shape[0] * rows)))
    )  # positions of each row in a chunk
    count = -(-places // size)
    if count == 1:
        return _cross_entropy(hidden, embeddings, labels, weights)[0]

    def chunks(array):  # (B, S, ...) -> (count, B, size, ...)
        array = jnp.pad(array, [(0, 0), (0, count * size - places)] + [(0, 0)] * (array.ndim - 2))
        return array.reshape(rows, count, size, *array.shape[2:]).swapaxes(0, 1)

    def loss_if_any(chunk):
        hidden, labels, weights = chunk
        return jax.lax.cond(
            weights.any(),
            _frozen_loss,
            lambda *_: jnp.float32(0),
            hidden,
            embeddings,
            labels,
            weights,
        )

    return jax.lax.map(
        loss_if_any, tuple(chunks(array) for array in (hidden, labels, weights))
    ).sum()


def _cross_entropy(hidden, embeddings, labels, weights):
    """Sum of weight x cross-entropy, and its gradient by the logits (..., V)."""
    logits = jnp.einsum("...d,vd->...v", hidden, embeddings, preferred_element_type=jnp.float32)
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    said = labels[..., None] == jnp.arange(embeddings.shape[0])
    errors = weights[..., None] * (jnp.exp(logits - normalizer[..., None]) - said)
    return jnp.sum(weights * (normalizer - picked)), errors


@jax.custom_vjp
def _frozen_loss(hidden, embeddings, labels, weights):
    """The loss of a chunk. Its gradient is computed while the logits are at hand, so none are
    computed twice.
    """
    return _cross_entropy(hidden, embeddings, labels, weights)[0]


def _loss_and_gradient(hidden, embeddings, labels, weights):
    loss, errors = _cross_entropy(hidden, embeddings, labels, weights)
    errors = errors.astype(hidden.dtype)
    gradient = jnp.einsum("...v,vd->...d", errors, embeddings, preferred_element_type=jnp.float32)
    return loss, gradient.astype(hidden.dtype)


_frozen_loss.defvjp(
    _loss_and_gradient,
    lambda gradient, scale: ((scale * gradient).astype(gradient.dtype), None, None, None),
)


class Forward(keras.layers.Layer):
    """The backbone's states at the supervised positions.

    A layer of its own, because Keras hands `training` down from the outermost layer that is called,
    and a train step calls no model, but its `call`: without it the adapters would never hear that
    they are being trained.
    """

    def __init__(self, backbone, rematerialization):
        super().__init__()
        self.backbone, self.rematerialization = backbone, rematerialization
        self.built = True

    def call(self, inputs, training=None):
        hidden = hidden_states(
            self.backbone, inputs["token_ids"], inputs["segment_ids"], self.rematerialization
        )
        return jnp.take_along_axis(hidden, inputs["positions"][:, :, None], axis=1)  # (B, S, D)


class SupervisedModel(keras.Model):
    """A backbone whose `fit` minimizes the mean cross-entropy over supervised tokens.

    Inputs: token_ids, segment_ids (B, T) and positions (B, S); labels and sample weights (B, S).
    Reports per step `loss`, `tokens` (supervised) and, in training, `grad_norm`. A training batch
    is worked off in `accumulation_steps` parts of equal size, for the memory of one; its gradient
    is that of the whole batch.
    """

    def __init__(self, backbone, accumulation_steps: int = 1, rematerialization: bool = False):
        super().__init__()
        self.accumulation_steps = accumulation_steps
        self.backbone, self.forward = backbone, Forward(backbone, rematerialization)
        self.token_loss = keras.metrics.Mean(name="loss")
        self.built = True

    @property
    def metrics(self):
        return [self.token_loss]

    def call(self, inputs, training=None):
        return self.forward(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        embeddings = self.backbone.token_embedding.embeddings
        chunk_bytes = math.inf if embeddings.trainable else CHUNK_BYTES
        total = summed_loss(y_pred, embeddings.value, y, sample_weight, chunk_bytes)
        return total / jnp.maximum(sample_weight.sum(), 1.0)

    def train_step(self, state, data):
        trainable, _, optimizer, _ = state
        gradients = self._gradients if self.accumulation_steps == 1 else self._accumulated_gradients
        loss, grads, non_trainable, metrics = gradients(state, data)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in grads))
        logs = {"loss": loss, "grad_norm": norm, "tokens": data[2].sum()}
        return logs, (trainable, non_trainable, optimizer, metrics)

    def _gradients(self, state, data):
        """(loss, its gradients, non-trainable variables, metrics) after a forward and a backward
        pass.
        """
        trainable, non_trainable, optimizer, metrics = state
        gradient = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        (loss, (_, _, non_trainable, metrics)), grads = gradient(
            trainable, non_trainable, metrics, *data, training=True, optimizer_variables=optimizer
        )
        return loss, grads, non_trainable, metrics

    def _accumulated_gradients(self, state, data):
        """The same, part by part. Each part's mean is weighed by its share of the batch's
        supervised tokens:

        parts hold unequal numbers of them, and a mean of means would weigh the tokens unequally.
        """
        trainable, non_trainable, optimizer, metrics = state
        parts = jax.tree.map(
            lambda a: a.reshape(-1, self.accumulation_steps, *a.shape[1:]).swapaxes(0, 1), data
        )
        tokens = jnp.maximum(data[2].sum(), 1.0)

        def add(sums, part):
            loss, grads, non_trainable, metrics = sums
            part_loss, part_grads, *state = self._gradients(
                (trainable, non_trainable, optimizer, metrics), part
            )
            share = part[2].sum() / tokens
            grads = [total + share * more for total, more in zip(grads, part_grads, strict=True)]
            return (loss + share * part_loss, grads, *state), None

        zeros = [jnp.zeros_like(variable) for variable in trainable]
        return jax.lax.scan(add, (jnp.float32(0), zeros, non_trainable, metrics), parts)[0]

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return self.get_metrics_result()

    def _update_metrics_variables(self, metrics_variables, loss, x, y, y_pred, sample_weight):
        state = self.token_loss.stateless_update_state(
            metrics_variables, loss, sample_weight=sample_weight.sum()
        )
        return {"loss": self.token_loss.stateless_result(state)}, state
