"""Which models are computed here: checks of a config.json and of the weights that belong to it.

keras-hub's Gemma 3 and the training on top of it fix most of what a config.json can state. Any
other value would be ignored, and the model would answer wrongly without an error. So it is refused.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from gemma_finetune.formats.hf_layout import CONTEXT_LENGTH
from gemma_finetune.formats.safetensors_file import DTYPES, open_weights
from gemma_finetune.utils.errors import UserError

USE = "use a text Gemma 3 as published (270M, 1B)"
AGAIN = "download the model again"
EMBEDDING, LM_HEAD = "model.embed_tokens.weight", "lm_head.weight"

# Sizes in a config.json of Hugging Face, and what transformers takes where one is absent.
SIZES = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 4096,
    "max_position_embeddings": CONTEXT_LENGTH,
}
# The only values that are computed. None stands for null, false, 0 and {}. Absent keys have these.
FIXED = {
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,  # keras-hub uses another one for its final norm alone
    "attention_bias": None,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "tie_word_embeddings": True,
    "use_bidirectional_attention": None,  # of embedding models
    "quantization_config": None,
    "sliding_window_pattern": 6,
    "_sliding_window_pattern": 6,
    # keras-hub reads these, transformers does not.
    "use_query_key_norm": True,
    "use_post_attention_norm": True,
    "use_post_ffw_norm": True,
}
# Rotary embeddings: the base of each kind of layer, and the older key that states it.
ROPE = {
    "sliding_attention": ("rope_local_base_freq", 10_000),
    "full_attention": ("rope_theta", 1_000_000),
}

# The same for the `config` in a config.json of KerasHub.
KERAS_SIZES = (
    "vocabulary_size",
    "hidden_dim",
    "intermediate_dim",
    "num_layers",
    "num_query_heads",
    "num_key_value_heads",
    "head_dim",
    "sliding_window_size",
)
KERAS_FIXED = {
    "vision_encoder": None,
    "attention_logit_soft_cap": None,
    "final_logit_soft_cap": None,
    "use_bidirectional_attention": None,
    "is_embedding_model": None,
    "layer_norm_epsilon": 1e-6,
    "query_head_dim_normalize": True,
    "use_query_key_norm": True,
    "use_post_attention_norm": True,
    "use_post_ffw_norm": True,
    "use_sliding_window_attention": True,
}
KERAS_DTYPES = (None, "float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")


def check_config(config: Any, place: str) -> None:
    """UserError unless this config.json, of Hugging Face or KerasHub, is a text Gemma 3's.

    place: where it is, for the message.
    """
    if not isinstance(config, dict):
        raise UserError(f"model.preset: {place} is no configuration of a model")
    try:
        for key, found, wanted in _values(config) if "model_type" in config else _keras(config):
            if not _equal(found, wanted):
                raise UserError(
                    f"model.preset: {place}: {key} is {_shown(found)}, "
                    f"and only {_shown(wanted)} is supported; {USE}"
                )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"model.preset: {place} is damaged ({type(error).__name__}: {error}); {USE}"
        )


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=1e-6)  # it may have been a float32 once
    return not found if wanted is None else found == wanted


def _stated(config: dict[str, Any], key: str, default: Any) -> Any:
    """What a config states; null states nothing."""
    found = config.get(key)
    return default if found is None else found


def with_sizes(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with the sizes that it leaves to transformers' defaults."""
    return SIZES | config


def saved_dtype(config: dict[str, Any]) -> str | None:
    """The dtype policy in a KerasHub `config`: saved as its name, or as {"config": {"name": …}}."""
    policy = config.get("dtype")
    return policy["config"].get("name") if isinstance(policy, dict) else policy


def _values(config: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, what a config.json of Hugging Face states, the only value that is computed)."""
    yield "model_type", config["model_type"], "gemma3_text"
    for key, wanted in FIXED.items():
        yield key, _stated(config, key, wanted), wanted
    config = with_sizes(config)
    _check_sizes(config, SIZES)
    _check_multiple(config, "hidden_size", "num_attention_heads")
    _check_multiple(config, "num_attention_heads", "num_key_value_heads")
    yield "query_pre_attn_scalar", config.get("query_pre_attn_scalar", 256), config["head_dim"]

    # Five layers attend locally, one globally, and so on.
    layers = range(config["num_hidden_layers"])
    kinds = ["full_attention" if layer % 6 == 5 else "sliding_attention" for layer in layers]
    stated = config.get("layer_types") or kinds
    for layer, (found, wanted) in enumerate(zip_longest(stated, kinds)):
        yield f"layer_types[{layer}]", found, wanted
    for kind in ROPE:
        yield from _rope(config, kind)


def _rope(config: dict[str, Any], kind: str) -> Iterator[tuple[str, Any, Any]]:
    """As `_values`, for the rotary embedding of a kind of layer. Linear scaling is computed."""
    older_key, theta = ROPE[kind]
    rope = {"rope_theta": config.get(older_key, theta)}
    rope |= (config.get("rope_parameters") or {}).get(kind) or {}
    if kind == "full_attention":
        rope |= config.get("rope_scaling") or {}

    rope_type = rope.pop("rope_type", "default")
    factor = _stated(rope, "factor", 1)
    rope.pop("factor", None)
    if rope.get("partial_rotary_factor") in (None, 1):
        rope.pop("partial_rotary_factor", None)
    yield f"rope_parameters.{kind}", rope, {"rope_theta": theta}
    if rope_type != "linear":
        yield f"rope_parameters.{kind}.rope_type", rope_type, "default"
        yield f"rope_parameters.{kind}.factor", factor, 1
    elif not factor > 0:
        yield f"rope_parameters.{kind}.factor", factor, 1


def _keras(config: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """As `_values`, for a config.json of KerasHub."""
    name = "keras_hub>Gemma3Backbone"
    yield "registered_name", config.get("registered_name"), name
    config = config["config"]
    for key, wanted in KERAS_FIXED.items():
        yield key, _stated(config, key, wanted), wanted
    _check_sizes(config, KERAS_SIZES)
    dtype = saved_dtype(config)
    if dtype not in KERAS_DTYPES:
        yield "dtype", dtype, "float32"


def _check_sizes(config: dict[str, Any], keys: Iterable[str]) -> None:
    for key in keys:
        size = config.get(key)
        if type(size) is not int or size < 1:
            raise ValueError(f"{key} is {_shown(size)}, not a whole number from 1")


def _check_multiple(config: dict[str, Any], whole: str, part: str) -> None:
    if config[whole] % config[part]:
        raise ValueError(f"{whole} {config[whole]} is no multiple of {part} {config[part]}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def check_weights(files: Sequence[Path], config: dict[str, Any], place: str) -> str:
    """The precision of the weights in `files`, which have to be those of a checked `config`.

    place: where the model is, for the message.
    UserError for tensors that are missing, superfluous, of another shape or type, not finite or
    zero.
    `lm_head.weight` may be there if it equals the embedding, with which it is tied.
    """
    places = _find_tensors(files, _shapes(with_sizes(config)), place)
    for name, path in places.items():
        weights = _read(path, name)
        if weights.ndim == 2 and not weights.any():
            raise UserError(
                f"model.preset: {place}: {name} holds only zeros, which is not supported: if "
                f"its download was cut short, {AGAIN}; if it was pruned on purpose, use the model "
                "as it was before"
            )
        if not np.isfinite(weights).all():
            raise UserError(
                f"model.preset: {place}: {name} holds NaN or infinite weights; "
                "download it again, or use an earlier checkpoint of the training that made it"
            )
    embedding = _read(places[EMBEDDING], EMBEDDING)
    if LM_HEAD in places and not np.array_equal(_read(places[LM_HEAD], LM_HEAD), embedding):
        raise UserError(
            f"model.preset: {place}: {LM_HEAD} differs from {EMBEDDING}, which is not supported: "
            f"a Gemma 3 uses one for both; {USE}"
        )
    return str(embedding.dtype)


def _find_tensors(
    files: Sequence[Path], shapes: dict[str, list[int]], place: str
) -> dict[str, Path]:
    """{tensor: the file that holds it}. UserError unless they are those of `shapes`."""
    places = {}
    for path in files:
        with open_weights(path, remedy=AGAIN) as file:
            for name in file.keys():
                places[name] = path
                tensor = file.get_slice(name)
                _check_tensor(
                    f"{place}: {name}", tensor.get_dtype(), tensor.get_shape(), shapes.get(name)
                )
    missing = [name for name in shapes if name not in places and name != LM_HEAD]
    if missing:
        raise UserError(
            f"model.preset: {place}: {missing[0]} is missing from the weights (and "
            f"{len(missing) - 1} more tensors of its config.json); {AGAIN}"
        )
    return places


def _check_tensor(name: str, dtype: str, found: list[int], wanted: list[int] | None) -> None:
    if dtype not in DTYPES:
        raise UserError(
            f"model.preset: {name} is {dtype}; only float32, bfloat16 and float16 are supported, "
            f"and no quantized weights; {USE}"
        )
    if wanted is None:
        raise UserError(f"model.preset: {name} is no tensor of the Gemma 3 in config.json; {USE}")
    if found != wanted:
        raise UserError(
            f"model.preset: {name} has the shape {found}, and {wanted} by config.json; {AGAIN}"
        )


def _read(path: Path, name: str) -> np.ndarray:
    with open_weights(path, remedy=AGAIN) as file:
        return file.get_tensor(name)


def _shapes(config: dict[str, Any]) -> dict[str, list[int]]:
    """{tensor: shape} of a Gemma 3, with the `lm_head` that it may have."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    head = config["head_dim"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    layer = {
        "self_attn.q_proj": [queries, hidden],
        "self_attn.k_proj": [keys, hidden],
        "self_attn.v_proj": [keys, hidden],
        "self_attn.o_proj": [hidden, queries],
        "self_attn.q_norm": [head],
        "self_attn.k_norm": [head],
        "mlp.gate_proj": [intermediate, hidden],
        "mlp.up_proj": [intermediate, hidden],
        "mlp.down_proj": [hidden, intermediate],
        "input_layernorm": [hidden],
        "post_attention_layernorm": [hidden],
        "pre_feedforward_layernorm": [hidden],
        "post_feedforward_layernorm": [hidden],
    }
    embedding = [config["vocab_size"], hidden]
    shapes = {EMBEDDING: embedding, LM_HEAD: embedding, "model.norm.weight": [hidden]}
    for index in range(config["num_hidden_layers"]):
        for module, shape in layer.items():
            shapes[f"model.layers.{index}.{module}.weight"] = shape
    return shapes
