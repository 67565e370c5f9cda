"""Gemma 3 on Keras and JAX: on a GPU if there is one, else on the CPU.

What would suffer from bfloat16 is float32: softmax and RoPE angles (in keras-hub), and the logits
(here).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gemma_finetune.config import AUTO
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.inference.projections import lay_out_for_cpu, product
from gemma_finetune.inference.token_backend import TokenBackend, check_vocabulary
from gemma_finetune.models.library import keras
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.runtime.prefill import choose_prefill
from gemma_finetune.utils.device import device_name
from gemma_finetune.utils.errors import UserError

PREFILL_LENGTHS = (32, 256)  # only two, because JAX takes seconds to compile each
Cache = tuple[tuple[jax.Array, jax.Array], ...]  # keys and values of each layer


def open_keras(directory: str | Path, dtype: str, context_length: int) -> TokenBackend:
    """The model in `directory` (Hugging Face layout), its weights in `dtype` (auto: bfloat16)."""
    directory = Path(directory)
    dtype = "bfloat16" if dtype == AUTO else dtype
    tokenizer_path = directory / "tokenizer.model"
    if not tokenizer_path.is_file():
        raise UserError(f"{directory}: no Gemma in Hugging Face layout: it has no tokenizer.model")
    tokenizer = GemmaTokenizer(tokenizer_path)
    backbone = load_gemma_model(directory, dtype)
    check_vocabulary(directory, backbone.vocabulary_size, tokenizer_path, tokenizer)
    model = KerasModel(backbone, context_length)
    description = f"Keras on {device_name()}, {dtype}: {directory}"
    return TokenBackend(model, tokenizer, directory / "model.safetensors", description)


class KerasModel:
    """A backbone and its KV cache. `position` is the number of tokens the cache holds.

    On a CPU it changes the backbone's projections (projections.py).
    """

    def __init__(self, backbone: keras.Model, cache_length: int):
        if jax.default_backend() == "cpu":
            lay_out_for_cpu(backbone)
        shape = (1, cache_length, backbone.num_key_value_heads, backbone.head_dim)
        dtype = backbone.compute_dtype
        self.cache_length, self.position = cache_length, 0
        layers = range(backbone.num_layers)
        self._cache = tuple((jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in layers)
        self._weights = [variable.value for variable in _variables(backbone)]
        # The cache is donated, so that each call updates it in place.
        self._fill = jax.jit(partial(_fill, backbone), donate_argnums=1)
        self._step = jax.jit(partial(_step, backbone), donate_argnums=1)

    def rewind(self, position: int) -> None:
        """Forgets the tokens from `position` on; their cache entries are hidden and overwritten."""
        if not 0 <= position <= self.position:
            raise ValueError(f"rewind goes back. Received: position={position} at {self.position}")
        self.position = position

    def prefill(self, ids: Sequence[int]) -> None:
        """Reads tokens into the cache. Gives no logits."""
        start = 0
        while start < len(ids):
            room = self.cache_length - self.position
            length = choose_prefill(PREFILL_LENGTHS, len(ids) - start, room) or 1
            chunk = ids[start : start + length]
            padded = np.zeros((1, length), np.int32)
            padded[0, : len(chunk)] = chunk
            self._cache = self._fill(self._weights, self._cache, padded, self.position)
            self.position += len(chunk)
            start += len(chunk)

    def decode(self, token: int) -> np.ndarray:
        """Reads one token; returns the logits of the next, (V,) float32."""
        if self.position >= self.cache_length:
            raise ValueError(
                f"the cache is full. Received: 1 token at {self.position} of {self.cache_length}"
            )
        ids = np.array([[token]], np.int32)
        logits, self._cache = self._step(self._weights, self._cache, ids, self.position)
        self.position += 1
        return np.asarray(logits)


def _fill(
    backbone: keras.Model, weights: list, cache: Cache, ids: jax.Array, position: jax.Array
) -> Cache:
    """The cache after `ids` (1, T), written from `position` on."""
    _, cache = _forward(backbone, weights, cache, ids, position)
    return cache


def _step(
    backbone: keras.Model, weights: list, cache: Cache, ids: jax.Array, position: jax.Array
) -> tuple[jax.Array, Cache]:
    """Logits (V,) float32 after the token `ids` (1, 1), and the cache."""
    hidden, cache = _forward(backbone, weights, cache, ids, position)  # (1, 1, D)
    variables = [id(variable) for variable in _variables(backbone)]
    embeddings = weights[variables.index(id(backbone.token_embedding.embeddings))]  # (V, D)
    with jax.default_matmul_precision("float32"):
        return product(embeddings, hidden[0])[0], cache


def _forward(
    backbone: keras.Model, weights: list, cache: Cache, ids: jax.Array, position: jax.Array
) -> tuple[jax.Array, Cache]:
    """Hidden states (1, T, D) after the final norm, and the cache.

    The same as keras-hub's `Gemma3CausalLM.call_with_cache`, without the logits.
    """
    state = list(zip(_variables(backbone), weights, strict=True))
    # On a GPU float32 products would otherwise be TF32.
    with keras.StatelessScope(state_mapping=state), jax.default_matmul_precision("float32"):
        x = backbone.token_embedding(ids)  # (1, T, D)
        x = x * jnp.sqrt(backbone.hidden_dim).astype(x.dtype)
        updated = []
        for block, layer_cache in zip(backbone.transformer_layers, cache, strict=True):
            x, layer_cache = block(x, cache=layer_cache, cache_update_index=position)
            updated.append(layer_cache)
        return backbone.layer_norm(x), tuple(updated)


def _variables(backbone: keras.Model) -> list[keras.Variable]:
    """Those that hold a value: not the kernels that `lay_out_for_cpu` deleted."""
    return [variable for variable in backbone.variables if not variable.value.is_deleted()]
