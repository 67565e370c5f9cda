"""Gemma 3 on Keras and JAX: on a GPU where there is one, else on the CPU.

In bfloat16, what would suffer from it is float32: softmax and RoPE angles (in keras-hub), and the
logits (here).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np

from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.inference.token_backend import TokenBackend, check_vocabulary
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.runtime.prefill import choose_prefill
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.gpu import device_name

PREFILL_LENGTHS = (32, 256)  # JAX compiles each length once; few, for a compilation costs seconds


def open_keras(directory: str | Path, dtype: str, context_length: int) -> TokenBackend:
    """The model in `directory` (Hugging Face layout), its weights in `dtype`."""
    tokenizer_path = Path(directory) / "tokenizer.model"
    if not tokenizer_path.is_file():
        raise UserError(f"{directory}: no Gemma in Hugging Face layout: it has no tokenizer.model")
    tokenizer = GemmaTokenizer(tokenizer_path)
    backbone = load_gemma_model(directory, dtype)
    check_vocabulary(directory, backbone.vocabulary_size, tokenizer_path, tokenizer)
    weights, description = (
        Path(directory) / "model.safetensors",
        f"Keras on {device_name()}, {dtype}: {directory}",
    )
    return TokenBackend(KerasModel(backbone, context_length), tokenizer, weights, description)


class KerasModel:
    """A backbone and its KV cache. `position` is the number of tokens the cache holds."""

    def __init__(self, backbone, cache_length: int):
        shape = (1, cache_length, backbone.num_key_value_heads, backbone.head_dim)
        dtype = backbone.compute_dtype
        self.cache_length, self.position = cache_length, 0
        self._cache = tuple(
            (jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(backbone.num_layers)
        )
        self._weights = [variable.value for variable in backbone.variables]
        # The cache is donated: each call updates it in place.
        self._fill = jax.jit(partial(_fill, backbone), donate_argnums=1)
        self._step = jax.jit(partial(_step, backbone), donate_argnums=1)

    def rewind(self, position: int) -> None:
        """Forgets the tokens from `position` on; what the cache holds behind it is hidden and
        overwritten.
        """
        if not 0 <= position <= self.position:
            raise ValueError(f"rewind goes back. Received: position={position} at {self.position}")
        self.position = position

    def prefill(self, ids: Sequence[int]) -> None:
        """Reads tokens into the cache. Gives no logits."""
        start = 0
        while start < len(ids):
            length = (
                choose_prefill(PREFILL_LENGTHS, len(ids) - start, self.cache_length - self.position)
                or 1
            )
            read = ids[start : start + length]
            padded = np.zeros((1, length), np.int32)
            padded[0, : len(read)] = read
            self._cache = self._fill(self._weights, self._cache, padded, self.position)
            self.position += len(read)
            start += len(read)

    def decode(self, token: int) -> np.ndarray:
        """Reads one token; returns the logits of the next, (V,) float32."""
        if self.position >= self.cache_length:
            raise ValueError(
                f"the cache is full. Received: 1 token at {self.position} of {self.cache_length}"
            )
        logits, self._cache = self._step(
            self._weights, self._cache, np.array([[token]], np.int32), self.position
        )
        self.position += 1
        return np.asarray(logits)


def _fill(backbone, weights, cache, ids, position):
    """The cache after `ids` (1, T), written from `position` on."""
    return _forward(backbone, weights, cache, ids, position)[1]


def _step(backbone, weights, cache, ids, position):
    """Logits (V,) float32 after the token `ids` (1, 1), and the cache."""
    hidden, cache = _forward(backbone, weights, cache, ids, position)
    variables = [id(variable) for variable in backbone.variables]
    embeddings = weights[variables.index(id(backbone.token_embedding.embeddings))]
    with jax.default_matmul_precision("float32"):
        # Two rows, for XLA on a CPU takes 15 times as long for a single one in bfloat16.
        twice = jnp.broadcast_to(hidden[0, -1], (2, hidden.shape[-1]))
        return jnp.einsum("nd,vd->nv", twice, embeddings, preferred_element_type=jnp.float32)[
            0
        ], cache


def _forward(backbone, weights, cache, ids, position):
    """Hidden states (1, T, D) after the final norm, and the cache: `Gemma3CausalLM.call_with_cache`
    but for logits.
    """
    state = list(zip(backbone.variables, weights, strict=True))
    with (
        keras.StatelessScope(state_mapping=state),
        jax.default_matmul_precision("float32"),
    ):  # a GPU would take TF32
        x = backbone.token_embedding(ids)
        x = x * jnp.sqrt(backbone.hidden_dim).astype(x.dtype)
        updated = []
        for block, layer_cache in zip(backbone.transformer_layers, cache, strict=True):
            x, layer_cache = block(x, cache=layer_cache, cache_update_index=position)
            updated.append(layer_cache)
        return backbone.layer_norm(x), tuple(updated)
