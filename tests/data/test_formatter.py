"""The chat template: what it renders, that it parses back, and that nothing in content becomes a control token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from gemma_finetune.data.control import CONTROL_PIECES, find_control
from gemma_finetune.data.formatter import CHAT_TEMPLATE, GENERATION_PROMPT, parse, render, render_prompt

content = st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(lambda text: not find_control(text))


def turns(texts):
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


def stripped(messages):
    return [{**message, "content": message["content"].strip()} for message in messages]


conversations = st.lists(content, min_size=1, max_size=6).map(turns)


def test_render_of_two_turns():
    assert render(turns(["Hi", "Hello"])) == (
        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
    )


def test_system_text_goes_before_the_first_user_text():
    messages = [{"role": "system", "content": "Be brief."}, *turns(["Hi", "Hello", "Bye"])]
    assert render(messages).startswith("<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n")
    assert render(messages).count("Be brief.") == 1


def test_prompt_ends_where_the_model_answers():
    assert render_prompt(turns(["Hi"])) == render(turns(["Hi"])) + GENERATION_PROMPT
    with pytest.raises(ValueError, match="end with a user"):
        render_prompt(turns(["Hi", "Hello"]))


@pytest.mark.parametrize("piece", [*CONTROL_PIECES, "<unused7>"])
def test_control_piece_in_content_is_refused(piece):
    with pytest.raises(ValueError, match="control piece"):
        render(turns([f"a{piece}b"]))
    with pytest.raises(ValueError, match="control piece"):
        render([{"role": "system", "content": piece}, *turns(["Hi"])])


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
@given(content, conversations)
def test_first_turns_are_a_prefix_of_all(system, messages):
    messages = [{"role": "system", "content": system}, *messages]
    for count in range(1, len(messages) + 1):
        assert render(messages).startswith(render(messages[:count]))


def through_transformers(messages, **options):
    """What `tokenizer.apply_chat_template(messages, tokenize=False)` renders."""
    return render_jinja_template([messages], chat_template=CHAT_TEMPLATE, **options)[0][0]


@settings(derandomize=True, deadline=None)
@given(st.none() | content, conversations)
def test_chat_template_renders_the_same_bytes(system, messages):
    messages = [{"role": "system", "content": system}] * (system is not None) + messages
    assert through_transformers(messages) == render(messages)
    if messages[-1]["role"] == "user":
        assert through_transformers(messages, add_generation_prompt=True) == render_prompt(messages)


def test_chat_template_takes_text_parts_and_refuses_wrong_roles():
    assert through_transformers([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]) == render(
        turns(["Hi"])
    )
    with pytest.raises(TemplateError, match="alternate"):
        through_transformers([{"role": "assistant", "content": "x"}])
