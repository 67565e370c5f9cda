"""Faults planted in the merged model's tokenizer and chat template: other ids than training's."""

import pytest

from gemma_finetune.evaluation import torch_rung
from gemma_finetune.formats.chat_template import CHAT_TEMPLATE, LITERTLM_TEMPLATE
from gemma_finetune.utils.errors import UserError

from .conftest import exchange_pieces

pytestmark = pytest.mark.slow


def check_tokenizers(root, test_set, tokenizer):
    base, merged = root / "models/base", root / "models/merged"
    torch_rung.check_tokenizers(base, merged, test_set.turns, tokenizer)


def test_a_merged_model_with_another_tokenizer_is_caught_at_merge(copy, test_set, tokenizer):
    exchange_pieces(copy / "models/merged/tokenizer.model", "t", "k")
    with pytest.raises(UserError, match="hop merge: .*/tokenizer.model is not"):
        check_tokenizers(copy, test_set, tokenizer)


def test_the_healthy_template_passes(chain, test_set, tokenizer):
    check_tokenizers(chain, test_set, tokenizer)


@pytest.mark.parametrize(
    "template",
    [
        LITERTLM_TEMPLATE,
        "{{ bos_token }}" + CHAT_TEMPLATE,
        CHAT_TEMPLATE.replace("role + '\\n'", "role"),
        CHAT_TEMPLATE.replace("\\n", ""),
    ],
    ids=["no-bos", "second-bos", "no-newline-after-role", "no-newlines"],
)
def test_another_template_in_the_merged_model_is_caught_at_transformers(
    copy, test_set, tokenizer, template
):
    assert template != CHAT_TEMPLATE
    (copy / "models/merged/chat_template.jinja").write_text(template)
    expected = "hop transformers: test row .*: transformers makes other token ids"
    with pytest.raises(UserError, match=expected):
        check_tokenizers(copy, test_set, tokenizer)
