import json

import pytest

from gemma_finetune.formats.recipe import read_recipe, weight_type
from gemma_finetune.utils.errors import UserError

INT8, BLOCK = ("INT8", "CHANNELWISE"), ("INT4", "BLOCKWISE_32")
V_PROJ = "a/Linear_v_proj;1;"


def entry(regex, kind=BLOCK, operation="FULLY_CONNECTED", algorithm="min_max_uniform_quantize"):
    dtype, granularity = kind
    weight = {"num_bits": int(dtype[3:]), "granularity": granularity, "dtype": dtype[:3]}
    return {
        "regex": regex,
        "operation": operation,
        "algorithm_key": algorithm,
        "op_config": {"weight_tensor_config": weight},
    }


@pytest.mark.parametrize(
    "content, at_fault",
    [
        ("{", "not valid JSON"),
        ("[]", "a list of entries"),
        ('{"regex": ".*"}', "a list of entries"),
        ('["int8"]', "entry 1 lacks algorithm_key, operation, regex"),
        ('[{"regex": ".*"}]', "entry 1 lacks algorithm_key, operation"),
        (json.dumps([entry(".*"), entry("(")]), r"entry 2: '\(' is not a regular expression"),
        (json.dumps([entry(None)]), "entry 1: None is not a regular expression"),
    ],
)
def test_names_what_is_wrong_with_a_recipe(tmp_path, content, at_fault):
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(UserError, match=f"own.json: .*{at_fault}"):
        read_recipe(tmp_path / "own.json")


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such recipe"):
        read_recipe(tmp_path / "none.json")


def test_the_last_matching_entry_counts():
    everything, v_proj = entry(".*", INT8), entry("v_proj", BLOCK)
    assert weight_type("FULLY_CONNECTED", V_PROJ, [everything, v_proj]) == BLOCK
    assert weight_type("FULLY_CONNECTED", V_PROJ, [v_proj, everything]) == INT8


def test_entries_of_one_regex_count_where_the_first_of_them_stands():
    """ai-edge-quantizer groups them so."""
    recipe = [entry(".*", INT8), entry("v_proj", BLOCK), entry(".*", INT8)]
    assert weight_type("FULLY_CONNECTED", V_PROJ, recipe) == BLOCK


def test_an_entry_counts_for_its_operation_only_or_for_all():
    lookup = entry(".*", INT8, operation="EMBEDDING_LOOKUP")
    assert weight_type("FULLY_CONNECTED", V_PROJ, [lookup]) == ("FLOAT32", "")
    assert weight_type("EMBEDDING_LOOKUP", "embed;", [lookup]) == INT8
    assert weight_type("EMBEDDING_LOOKUP", "embed;", [entry(".*", INT8, operation="*")]) == INT8


def test_what_no_entry_matches_or_one_excludes_stays_in_float():
    assert weight_type("FULLY_CONNECTED", V_PROJ, [entry("k_proj")]) == ("FLOAT32", "")
    recipe = [entry(".*"), entry("v_proj", algorithm="no_quantize")]
    assert weight_type("FULLY_CONNECTED", V_PROJ, recipe) == ("FLOAT32", "")


def test_a_weight_may_be_a_shorter_float():
    recipe = [entry(".*")]
    recipe[0]["op_config"]["weight_tensor_config"] = {
        "num_bits": 16,
        "granularity": "TENSORWISE",
        "dtype": "FLOAT",
    }
    assert weight_type("FULLY_CONNECTED", V_PROJ, recipe) == ("FLOAT16", "")
