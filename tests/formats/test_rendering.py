"""The chat template: what it renders, that it parses back, and that nothing in content becomes a
control token.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations import text, turns
from gemma_finetune.config import CONTROL_PIECES
from gemma_finetune.formats.chat_template import GENERATION_PROMPT, parse, render, render_prompt


def stripped(messages):
    return [{**message, "content": message["content"].strip()} for message in messages]


conversations = st.lists(text(), min_size=1, max_size=6).map(turns)


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
@given(text(), conversations)
def test_first_turns_are_a_prefix_of_all(system, messages):
    messages = [{"role": "system", "content": system}, *messages]
    for count in range(1, len(messages) + 1):
        assert render(messages).startswith(render(messages[:count]))
