"""The template that ships against training's own rendering, through transformers. LiteRT-LM:
test_bundle_prompts.py.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from transformers import AutoTokenizer

from conversations import text, turns, with_system
from gemma_finetune.formats.chat_template import (
    CHAT_TEMPLATE,
    LITERTLM_TEMPLATE,
    render,
    render_prompt,
)


@pytest.fixture(scope="module")
def transformers_tokenizer(base_dir, tmp_path_factory):
    """The tokenizer of models/merged as transformers loads it, its chat_template.jinja included."""
    import shutil

    directory = tmp_path_factory.mktemp("merged")
    for name in ("config.json", "tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(base_dir / name, directory / name)
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return AutoTokenizer.from_pretrained(directory)


@settings(derandomize=True, deadline=None)
@given(st.none() | text(), st.lists(text(), min_size=1, max_size=6).map(turns))
def test_transformers_renders_training_s_bytes_behind_one_bos(
    transformers_tokenizer, system, conversation
):
    messages = with_system(system, conversation)
    rendered = transformers_tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == "<bos>" + render(messages)
    if messages[-1]["role"] == "user":
        rendered = transformers_tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        assert rendered == "<bos>" + render_prompt(messages)


@settings(derandomize=True, deadline=None)
@given(st.none() | text(), st.lists(text(), min_size=1, max_size=3).map(turns))
def test_transformers_makes_training_s_ids_of_a_prompt(
    transformers_tokenizer, tokenizer, system, conversation
):
    messages = with_system(system, conversation[: len(conversation) - (len(conversation) + 1) % 2])
    ids = transformers_tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert ids == [tokenizer.bos, *tokenizer.encode(render_prompt(messages))]


def test_takes_text_parts_and_refuses_wrong_roles(transformers_tokenizer):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert transformers_tokenizer.apply_chat_template(parts, tokenize=False) == "<bos>" + render(
        turns(["Hi"])
    )
    with pytest.raises(TemplateError, match="alternate"):
        transformers_tokenizer.apply_chat_template(
            [{"role": "assistant", "content": "x"}], tokenize=False
        )


def test_what_ships_in_a_litertlm_holds_no_start_token():
    assert "bos" not in LITERTLM_TEMPLATE
