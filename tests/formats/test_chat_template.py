"""The chat template: Python's rendering, and the Jinja text against it, through transformers.

LiteRT-LM's rendering: tests/inference/test_bundle_prompts.py.
"""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from transformers import AutoTokenizer

from conversations import text, turns, with_system
from gemma_finetune.config import CONTROL_PIECES
from gemma_finetune.formats.chat_template import (
    CHAT_TEMPLATE,
    GENERATION_PROMPT,
    LITERTLM_TEMPLATE,
    fold_system,
    parse,
    render,
    render_prompt,
)

pytestmark = pytest.mark.slow

conversations = st.lists(text(), min_size=1, max_size=6).map(turns)


def stripped(messages):
    return [{**message, "content": message["content"].strip()} for message in messages]


def system(content):
    return {"role": "system", "content": content}


def test_render_of_two_turns():
    assert render(turns(["Hi", "Hello"])) == (
        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
    )


def test_system_text_goes_before_the_first_user_text():
    messages = [system("Be brief."), *turns(["Hi", "Hello", "Bye"])]
    assert render(messages).startswith("<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n")
    assert render(messages).count("Be brief.") == 1


def test_folding_puts_the_system_text_into_the_first_turn_and_strips_every_text():
    messages = [system(" Be brief.\n"), *turns(["\nHi ", " Hello", "Bye"])]
    assert fold_system(messages) == turns(["Be brief.\n\nHi", "Hello", "Bye"])


def test_an_empty_system_text_adds_nothing():
    assert fold_system([system(" \n"), *turns(["Hi"])]) == turns(["Hi"])


def test_a_system_text_alone_is_no_turn():
    assert fold_system([system("Be brief.")]) == []
    assert fold_system([]) == []


@settings(derandomize=True, deadline=None)
@given(st.none() | text(), conversations.filter(lambda turns: turns[0]["content"].strip()))
def test_folding_changes_no_rendering_nor_its_argument(system_text, conversation):
    messages = with_system(system_text, conversation)
    before = [dict(message) for message in messages]
    assert render(fold_system(messages)) == render(messages)
    assert messages == before


def test_prompt_ends_where_the_model_answers():
    assert render_prompt(turns(["Hi"])) == render(turns(["Hi"])) + GENERATION_PROMPT
    with pytest.raises(ValueError, match="end with a user"):
        render_prompt(turns(["Hi", "Hello"]))


@pytest.mark.parametrize("piece", [*CONTROL_PIECES, "<unused7>"])
def test_control_piece_in_content_is_refused(piece):
    with pytest.raises(ValueError, match="control piece"):
        render(turns([f"a{piece}b"]))
    with pytest.raises(ValueError, match="control piece"):
        render([system(piece), *turns(["Hi"])])


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["user", "system"], ["tool"]])
def test_roles_must_alternate(roles):
    with pytest.raises(ValueError, match="must be"):
        render([{"role": role, "content": "x"} for role in roles])


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "<start_of_turn>user\nHi",
        "<start_of_turn>tool\nHi<end_of_turn>\n",
        "<start_of_turn>user\na<start_of_turn>user\nb<end_of_turn>\n",
    ],
)
def test_parse_refuses_what_render_does_not_write(text):
    with pytest.raises(ValueError, match="not a rendered conversation"):
        parse(text)


@settings(derandomize=True, deadline=None)
@given(conversations)
def test_parse_inverts_render(messages):
    assert parse(render(messages)) == stripped(messages)


@settings(derandomize=True, deadline=None)
@given(text(), conversations)
def test_first_turns_are_a_prefix_of_all(system_text, messages):
    messages = [system(system_text), *messages]
    for count in range(1, len(messages) + 1):
        assert render(messages).startswith(render(messages[:count]))


@pytest.fixture(scope="module")
def transformers_tokenizer(base_dir, tmp_path_factory):
    """The tokenizer of models/merged as transformers loads it, its chat_template.jinja included."""
    directory = tmp_path_factory.mktemp("merged")
    for name in ("config.json", "tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(base_dir / name, directory / name)
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return AutoTokenizer.from_pretrained(directory)


@settings(derandomize=True, deadline=None)
@given(st.none() | text(), conversations)
def test_transformers_renders_training_s_bytes_behind_one_bos(
    transformers_tokenizer, system_text, conversation
):
    messages = with_system(system_text, conversation)
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
    transformers_tokenizer, tokenizer, system_text, conversation
):
    if conversation[-1]["role"] == "assistant":
        conversation = conversation[:-1]
    messages = with_system(system_text, conversation)
    ids = transformers_tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert ids == [tokenizer.bos, *tokenizer.encode(render_prompt(messages))]


def test_takes_text_parts_and_refuses_wrong_roles(transformers_tokenizer):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    rendered = transformers_tokenizer.apply_chat_template(parts, tokenize=False)
    assert rendered == "<bos>" + render(turns(["Hi"]))
    with pytest.raises(TemplateError, match="alternate"):
        transformers_tokenizer.apply_chat_template(
            [{"role": "assistant", "content": "x"}], tokenize=False
        )


def test_what_ships_in_a_litertlm_holds_no_start_token():
    assert "bos" not in LITERTLM_TEMPLATE
