"""The forward pass of training: keras-hub's layers, called one by one.

- The same arithmetic as calling the backbone, with a mask that its own call cannot take: attention
  stays inside each conversation of a packed row.
- Projections go through `project`, which is faster than Keras on a CPU in bfloat16.
- Long rows on a CPU attend block by block (attention.py).
- Knows Gemma 3 for text as published; `check_architecture` refuses a backbone that differs.

Shapes: B rows, T tokens, D features, N query heads, K key/value heads, H features of a head.
"""

import math

import jax
import jax.numpy as jnp

from gemma_finetune.models.keras_private import attend
from gemma_finetune.models.library import keras
from gemma_finetune.models.projection import project
from gemma_finetune.training.attention import BLOCK, blockwise_attention
from gemma_finetune.utils.errors import UserError


def check_architecture(backbone: keras.Model) -> None:
    """UserError that names what `backbone` has, or lacks, unlike the model that is trained here."""
    differences = {
        "has an image tower": backbone.vision_encoder is not None,
        "has bidirectional attention": backbone.use_bidirectional_attention,
        "is an embedding model": backbone.is_embedding_model,
        "has attention logit soft capping": backbone.attention_logit_soft_cap is not None,
        "has final logit soft capping": backbone.final_logit_soft_cap is not None,
        "has dropout": backbone.dropout != 0,
        "has no norm of queries and keys": not backbone.use_query_key_norm,
        "has no norm after attention": not backbone.use_post_attention_norm,
        "has no norm after the feed-forward": not backbone.use_post_ffw_norm,
        # keras-hub ignores this setting in its own blocks, too
        "does not scale queries by sqrt(head_dim)": not backbone.query_head_dim_normalize,
    }
    found = [name for name, differs in differences.items() if differs]
    if found:
        raise UserError(
            f"model.preset: the base {', '.join(found)}, which training does not know; "
            "use a text Gemma 3 as published"
        )


def hidden_states(
    backbone: keras.Model,
    token_ids: jax.Array,
    segment_ids: jax.Array,
    rematerialization: bool = False,
) -> jax.Array:
    """(B, T) ids -> (B, T, D) states after the final norm; attention stays inside each segment.

    Positions count through a packed row: RoPE only sees their differences. With rematerialization
    the backward pass keeps only each layer's input, and computes the rest again.
    """
    x = backbone.token_embedding(token_ids)  # (B, T, D)
    x = x * jnp.sqrt(backbone.hidden_dim).astype(x.dtype)
    run = _rematerialized_block if rematerialization else _decoder_block
    for block in backbone.transformer_layers:
        x = run(block, x, segment_ids)
    return backbone.layer_norm(x)


def _rematerialized_block(
    block: keras.layers.Layer, x: jax.Array, segment_ids: jax.Array
) -> jax.Array:
    """`_decoder_block`, computed again in the backward pass.

    What JAX traces here sees no outer scope of Keras. So the block's variables are passed in by
    hand, and the seeds that dropout advances are passed out.
    """
    weights = {id(weight) for weight in block.weights}
    seeds = [variable for variable in block.variables if id(variable) not in weights]

    @jax.checkpoint
    def run(
        values: list[jax.Array], x: jax.Array, segment_ids: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        with keras.StatelessScope(list(zip(block.variables, values, strict=True))) as scope:
            x = _decoder_block(block, x, segment_ids)
        return x, [scope.get_current_value(seed) for seed in seeds]

    values = [variable.value for variable in block.variables]
    x, advanced = run(values, x, segment_ids)
    for seed, value in zip(seeds, advanced, strict=True):
        seed.assign(value)
    return x


def _decoder_block(block: keras.layers.Layer, x: jax.Array, segment_ids: jax.Array) -> jax.Array:
    """(B, T, D) -> (B, T, D)."""
    # Attention, with a norm before it and one after it
    y = _attention(block.attention, block.pre_attention_norm(x), segment_ids)
    x = x + block.post_attention_norm(y)

    # Gated feed-forward (GeGLU), with a norm before it and one after it
    y = block.pre_ffw_norm(x)
    gate = keras.activations.gelu(project(block.gating_ffw, y), approximate=True)  # (B, T, F)
    y = gate * project(block.gating_ffw_2, y)
    return x + block.post_ffw_norm(project(block.ffw_linear, y))


def _attention(layer: keras.layers.Layer, x: jax.Array, segment_ids: jax.Array) -> jax.Array:
    """(B, T, D) -> (B, T, D)."""
    q = layer.rope_layer(layer.query_norm(project(layer.query_dense, x)))  # (B, T, N, H)
    k = layer.rope_layer(layer.key_norm(project(layer.key_dense, x)))  # (B, T, K, H)
    v = project(layer.value_dense, x)  # (B, T, K, H)

    on_cpu = jax.default_backend() == "cpu"
    if on_cpu:
        # In float32: a CPU has no fast kernel for these small products in bfloat16.
        q, k, v = (array.astype(jnp.float32) for array in (q, k, v))
    if on_cpu and x.shape[1] > BLOCK:
        window = layer.sliding_window_size if layer.use_sliding_window_attention else None
        scaled = q / math.sqrt(layer.head_dim)
        y = blockwise_attention(scaled, k, v, segment_ids, window)
    else:
        y = attend(layer, q, k, v, _causal_mask(segment_ids))
    return project(layer.output_dense, y.astype(x.dtype))


def _causal_mask(segment_ids: jax.Array) -> jax.Array:
    """(B, T) -> (B, T, T): whether the token of a row sees that of a column. XLA makes it once."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return same & jnp.tril(jnp.ones(same.shape[1:], bool))
