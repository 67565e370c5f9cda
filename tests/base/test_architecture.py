"""Configurations as published pass; each value that would not be computed is refused by name."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from gemma_finetune.base.architecture import check_config, check_weights, with_sizes
from gemma_finetune.utils.errors import UserError

# google/gemma-3-1b-it, as transformers 4.50 wrote it
GEMMA_1B = {
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "cache_implementation": "hybrid",
    "eos_token_id": [1, 106],
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "vocab_size": 262144,
}
LAYERS = ["sliding_attention"] * 5 + ["full_attention"]
# As transformers 5 writes it, with a scaling that is computed
NEWER = GEMMA_1B | {
    "num_hidden_layers": 6,
    "layer_types": LAYERS,
    "rms_norm_eps": float(np.float32(1e-6)),
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
    },
}
KERAS_SIZES = {
    "vocabulary_size": 262144,
    "image_size": 896,
    "num_layers": 18,
    "num_query_heads": 4,
    "num_key_value_heads": 1,
    "hidden_dim": 640,
    "intermediate_dim": 2048,
    "head_dim": 256,
    "sliding_window_size": 512,
}


def keras(**changes):
    return {"registered_name": "keras_hub>Gemma3Backbone", "config": KERAS_SIZES | changes}


def test_published_configurations_pass():
    policy = {"class_name": "DTypePolicy", "config": {"name": "bfloat16"}}
    for config in (GEMMA_1B, NEWER, keras(), keras(dtype=policy, vision_encoder=None)):
        check_config(config, "config.json")


@pytest.mark.parametrize(
    "change",
    [
        {"quantization_config": {}, "final_logit_softcapping": 0.0},
        {"sliding_window_pattern": None, "tie_word_embeddings": None},
        {"rope_scaling": {"rope_type": "default", "factor": None, "partial_rotary_factor": 1.0}},
    ],
)
def test_what_states_nothing_passes(change):
    check_config(GEMMA_1B | change, "config.json")


def test_defaults_are_those_of_transformers():
    import transformers

    config = transformers.Gemma3TextConfig().to_dict()
    sizes = {key: config[key] for key in with_sizes({}) if key != "max_position_embeddings"}
    assert sizes == {key: with_sizes({})[key] for key in sizes}
    assert config["query_pre_attn_scalar"] == 256
    check_config(config | {"vocab_size": 262144}, "config.json")


FULL = {"rope_type": "default", "rope_theta": 1e6}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "gemma3"}, 'model_type is "gemma3", and only "gemma3_text" is supported'),
        ({"model_type": "llama"}, 'model_type is "llama"'),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0, and only null"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is true"),
        ({"quantization_config": {"bits": 4}}, 'quantization_config is {"bits": 4}'),
        ({"query_pre_attn_scalar": 999}, "query_pre_attn_scalar is 999, and only 256"),
        ({"head_dim": 128, "query_pre_attn_scalar": 128, "rms_norm_eps": 1e-5}, "rms_norm_eps is"),
        (
            {"hidden_activation": "silu"},
            'hidden_activation is "silu", and only "gelu_pytorch_tanh"',
        ),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is false, and only true"),
        ({"attention_bias": True}, "attention_bias is true"),
        ({"sliding_window": None}, "sliding_window is null, not a whole number from 1"),
        ({"sliding_window": 0}, "sliding_window is 0, not a whole number from 1"),
        ({"hidden_size": "1152"}, 'hidden_size is "1152", not a whole number'),
        ({"num_attention_heads": 5}, "hidden_size 1152 is no multiple of num_attention_heads 5"),
        ({"layer_types": LAYERS}, r"layer_types\[6\] is null, and only \"sliding_attention\""),
        ({"layer_types": ["full_attention"] * 26}, r"layer_types\[0\] is \"full_attention\""),
        ({"sliding_window_pattern": 2}, "sliding_window_pattern is 2, and only 6"),
        ({"rope_theta": 10000}, 'full_attention is {"rope_theta": 10000}, and only'),
        ({"rope_local_base_freq": 5}, "rope_parameters.sliding_attention is"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 8}},
            'full_attention.rope_type is "yarn"',
        ),
        ({"rope_scaling": {"factor": 8}}, "full_attention.factor is 8, and only 1"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "full_attention.factor is 0"),
        ({"rope_scaling": {"type": "linear", "factor": 8}}, 'full_attention is {.*"linear"}, and'),
        ({"rope_parameters": {"full_attention": FULL | {"rope_theta": 5}}}, "full_attention is"),
        ({"rope_parameters": 5}, "is damaged .AttributeError"),
    ],
)
def test_what_is_not_computed_is_refused(change, says):
    with pytest.raises(UserError, match=f"^model.preset: there/config.json:? .*{says}"):
        check_config(GEMMA_1B | change, "there/config.json")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([], "is no configuration of a model"),
        ({"layers": 1}, 'registered_name is null, and only "keras_hub>Gemma3Backbone"'),
        ({"registered_name": "keras_hub>BertBackbone"}, 'is "keras_hub>BertBackbone"'),
        ({"registered_name": "keras_hub>Gemma3Backbone"}, "is damaged .KeyError: 'config'"),
        (keras() | {"config": 1}, "is damaged .AttributeError"),
        (keras() | {"config": {"layers": 1}}, "vocabulary_size is null, not a whole number"),
        (keras(vision_encoder={"image_size": 896}), 'vision_encoder is {"image_size": 896}'),
        (keras(final_logit_soft_cap=30.0), "final_logit_soft_cap is 30.0, and only null"),
        (keras(is_embedding_model=True), "is_embedding_model is true"),
        (keras(layer_norm_epsilon=1e-5), "layer_norm_epsilon is 1e-05, and only 1e-06"),
        (keras(use_sliding_window_attention=False), "use_sliding_window_attention is false"),
        (keras(dtype={"config": {"name": "int8_from_bfloat16"}}), 'dtype is "int8_from_bfloat16"'),
    ],
)
def test_keras_hub_presets_that_are_not_computed_are_refused(config, says):
    with pytest.raises(UserError, match=says):
        check_config(config, "config.json")


SIZES = with_sizes({}) | {
    "vocab_size": 8,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 2,
}
EMBEDDING, UP = "model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def write(tmp_path):
    """Writes weights of SIZES in two files, with changes; None leaves a tensor out."""

    def shard(file, changes, **shapes):
        tensors = {name: np.ones(shape, ml_dtypes.bfloat16) for name, shape in shapes.items()}
        kept = {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}
        save_file(kept, tmp_path / file)
        return tmp_path / file

    def write(changes):
        layers = {
            f"model.layers.{index}.{module}.weight": shape
            for index in (0, 1)
            for module, shape in {
                "self_attn.q_proj": (4, 4),
                "self_attn.k_proj": (2, 4),
                "self_attn.v_proj": (2, 4),
                "self_attn.o_proj": (4, 4),
                "self_attn.q_norm": 2,
                "self_attn.k_norm": 2,
                "mlp.gate_proj": (6, 4),
                "mlp.up_proj": (6, 4),
                "mlp.down_proj": (4, 6),
                "input_layernorm": 4,
                "post_attention_layernorm": 4,
                "pre_feedforward_layernorm": 4,
                "post_feedforward_layernorm": 4,
            }.items()
        }
        first = shard("a.safetensors", {}, **{EMBEDDING: (8, 4), "model.norm.weight": 4})
        return [first, shard("b.safetensors", changes, **layers)]

    return write


def test_weights_of_the_configuration_pass(write):
    assert check_weights(write({}), SIZES, "there") == "bfloat16"
    copy = {"lm_head.weight": np.ones((8, 4), np.float32)}
    assert check_weights(write(copy), SIZES, "there") == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({UP: None}, f"{UP} is missing from the weights .and 0 more"),
        ({UP: np.zeros((6, 5), np.float32)}, rf"{UP} has the shape \[6, 5\], and \[6, 4\] by"),
        ({UP: np.zeros((6, 4), np.int8)}, f"{UP} is I8; only float32, .* no quantized weights"),
        ({UP: np.zeros((3, 1), np.uint8)}, f"{UP} is U8; only float32"),
        ({UP: np.zeros((6, 4), ml_dtypes.float8_e4m3fn)}, f"{UP} is F8_E4M3; only float32"),
        ({UP: np.zeros((6, 4), ml_dtypes.bfloat16)}, f"{UP} holds only zeros, .*cut short"),
        ({UP: np.zeros((6, 4), np.float32)}, "pruned on purpose, use the model as it was"),
        ({UP: np.full((6, 4), np.nan, ml_dtypes.bfloat16)}, f"{UP} holds NaN or infinite weights"),
        ({UP: np.full((6, 4), np.inf, np.float16)}, f"{UP} holds NaN or infinite weights"),
        ({UP.replace(".1.", ".2."): np.zeros((6, 4), np.float32)}, "layers.2.* is no tensor of"),
        ({"model.layers.0.self_attn.q_proj.bias": np.zeros(4, np.float32)}, "bias is no tensor"),
        (
            {"lm_head.weight": np.full((8, 4), 2, np.float32)},
            f"lm_head.weight differs from {EMBEDDING}",
        ),
    ],
)
def test_other_weights_are_refused(write, changes, says):
    with pytest.raises(UserError, match=f"^model.preset: there: .*{says}"):
        check_weights(write(changes), SIZES, "there")
