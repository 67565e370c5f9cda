import pytest

from gemma_finetune.config import load_section
from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.errors import UserError


def test_the_repository_s_own_settings_are_greedy(write_params):
    write_params({})
    assert load_section("generate", GenerateConfig).sampler().temperature == 0


def test_the_sampler_is_as_set(write_params):
    write_params({"generate.temperature": "7e-1", "generate.top_k": None, "generate.seed": 5})
    config = load_section("generate", GenerateConfig)
    assert config.sampler() == Sampler(temperature=0.7, top_k=None, top_p=config.top_p, seed=5)


@pytest.mark.parametrize(
    "key, value",
    [
        ("max_tokens", 0),
        ("temperature", -1),
        ("top_k", 0),
        ("top_p", 0),
        ("top_p", 1.5),
        ("dtype", "float16"),
    ],
)
def test_a_value_out_of_range_is_named(write_params, key, value):
    write_params({f"generate.{key}": value})
    with pytest.raises(UserError, match=f"generate.{key}"):
        load_section("generate", GenerateConfig)
