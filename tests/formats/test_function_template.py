"""FunctionGemma's template: Python's rendering, its loss mask, and the Jinja text against it.

LiteRT-LM's rendering: tests/inference/test_functions.py.
"""

import pytest
from hypothesis import HealthCheck, given, settings

import function_model as known
from function_cases import ACTIVATION, conversations
from function_cases import tools as declared
from gemma_finetune.config import FUNCTION_PIECES
from gemma_finetune.data.converter import to_openai_tools
from gemma_finetune.data.tool_rows import read_tools
from gemma_finetune.formats.chat_template import render, render_prompt, untrained_answers
from gemma_finetune.formats.function_template import CHAT_TEMPLATE
from gemma_finetune.formats.tokenizer import GemmaTokenizer

pytestmark = pytest.mark.slow

DECLARATIONS = (
    "<start_function_declaration>declaration:set_light{description:<escape>Sets a light.<escape>,"
    "parameters:{properties:{level:{type:<escape>INTEGER<escape>},on:{type:<escape>BOOLEAN<escape>}"
    ",room:{type:<escape>STRING<escape>}},required:[<escape>room<escape>],"
    "type:<escape>OBJECT<escape>}}<end_function_declaration>"
    "<start_function_declaration>declaration:get_time{description:<escape><escape>}"
    "<end_function_declaration>"
)
HALL = "<start_function_call>call:set_light{room:<escape>hall<escape>}<end_function_call>"
TIME = "<start_function_call>call:get_time{}<end_function_call>"
TEXT = (
    f"<start_of_turn>developer\n{ACTIVATION}{DECLARATIONS}<end_of_turn>\n"
    "<start_of_turn>user\nLight and time<end_of_turn>\n"
    f"<start_of_turn>model\nYes.{HALL}{TIME}"
    "<start_function_response>response:set_light{ok:true}<end_function_response>"
    "<start_function_response>response:get_time{result:<escape>ten<escape>}<end_function_response>"
    "It is ten.<end_of_turn>\n"
)
rendered = settings(
    derandomize=True, deadline=None, max_examples=30, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def tokenizer(function_tokenizer_path):
    return GemmaTokenizer(function_tokenizer_path)


def test_a_whole_conversation():
    assert render(known.TWO, known.TOOLS) == TEXT


def test_an_app_may_declare_its_functions_in_another_order_and_with_more_keys():
    assert render(known.TWO, known.APP_TOOLS) == TEXT


def test_a_system_text_has_a_turn_of_its_own_and_is_left_out_where_there_is_nothing_to_say():
    messages = [{"role": "system", "content": " Be brief. "}, known.user("Hi")]
    assert render(messages, []).startswith("<start_of_turn>developer\nBe brief.<end_of_turn>\n")
    assert render(messages[1:], []) == "<start_of_turn>user\nHi<end_of_turn>\n"


def test_prompts_after_a_question_and_after_a_response():
    assert render_prompt(known.TWO[:2], known.TOOLS).endswith(
        "time<end_of_turn>\n<start_of_turn>model\n"
    )
    assert render_prompt(known.TWO[:4], known.TOOLS).endswith("ten<escape>}<end_function_response>")


@pytest.mark.parametrize("messages", [
    [known.user("a"), known.user("b")],
    [known.user("a"), known.assistant(None, ("f", {})), known.user("b")],
    [known.user("a"), known.assistant(None, ("f", {})), known.assistant("b")],
    [known.user("a"), known.tool(f={})],
    [known.user("a"), known.assistant("b"), known.tool(f={})],
    *([known.user(piece)] for piece in FUNCTION_PIECES),
    [known.user("a"), known.assistant(None, ("f", {"x": "<end_of_turn>"}))],
])  # fmt: skip
def test_what_is_no_conversation(messages):
    with pytest.raises(ValueError):
        render(messages, [])


def test_gemma_3_has_no_calls():
    for messages in (known.TWO, known.TWO[:3]):
        with pytest.raises(ValueError, match="only FunctionGemma"):
            render(messages)


@pytest.fixture(scope="module")
def jinja():
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(CHAT_TEMPLATE)


@rendered
@given(conversations())
def test_transformers_renders_the_same_and_each_part_is_a_beginning_of_the_whole(jinja, found):
    messages, tools = found
    text = render(messages, tools)
    assert jinja.render(messages=messages, tools=tools, bos_token="<bos>") == f"<bos>{text}"
    for end in range(1, len(messages) + 1):
        part = render(messages[:end], tools)
        assert text.startswith(part)
        if messages[end - 1]["role"] in ("user", "tool"):
            prompt = jinja.render(
                messages=messages[:end], tools=tools, bos_token="<bos>", add_generation_prompt=True
            )
            assert prompt == "<bos>" + render_prompt(messages[:end], tools)


@rendered
@given(declared)
def test_a_function_reads_the_same_in_a_row_and_in_an_app(jinja, found):
    tools = to_openai_tools({"tools": read_tools(found)})
    text = render([known.user("Hi")], found)
    assert render([known.user("Hi")], tools) == text
    for given_tools in (found, tools):
        assert jinja.render(messages=[known.user("Hi")], tools=given_tools) == text


@pytest.mark.parametrize("parameters, printed", [
    ({"properties": {}}, ""),
    ({"properties": {}, "required": [], "title": "F"}, ""),
    ({"type": "object", "properties": {}}, ",parameters:{type:<escape>OBJECT<escape>}"),
    ({"properties": {"a": {}}}, ",parameters:{properties:{a:{}}}"),
    ({"properties": {"a": {"items": {"title": "x"}, "enum": [], "description": ""}}},
     ",parameters:{properties:{a:{}}}"),
    ({"properties": {"a": {"items": True}, "b": {"properties": {}}, "c": True}},
     ",parameters:{properties:{a:{},b:{},c:{}}}"),
])  # fmt: skip
def test_nothing_empty_is_declared(jinja, parameters, printed):
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    text = render([known.user("Hi")], tools)
    assert f"declaration:f{{description:<escape><escape>{printed}}}<end_" in text
    assert jinja.render(messages=[known.user("Hi")], tools=tools) == text
    assert render([known.user("Hi")], to_openai_tools({"tools": read_tools(tools)})) == text


def learned(tokenizer, messages, tools=known.TOOLS):
    """The spans of a conversation that the loss looks at, as text."""
    ids, supervised = tokenizer.encode_conversation(
        render(messages, tools), untrained_answers(messages)
    )
    spans, before = [], False
    for token, flag in zip(ids, supervised, strict=True):
        if flag and not before:
            spans.append([])
        if flag:
            spans[-1].append(token)
        before = flag
    return [tokenizer.decode(span) for span in spans]


def test_calls_the_piece_that_ends_them_answers_and_their_end_are_learned(tokenizer):
    two = learned(tokenizer, known.TWO)
    print(two)  # to look at with `pytest -s`
    assert two == [f"Yes.{HALL}{TIME}<start_function_response>", "It is ten.<end_of_turn>"]
    assert learned(tokenizer, known.TWO[:3]) == two[:1]
    assert learned(tokenizer, known.ONE)[1:] == [
        "The light is on.<end_of_turn>",
        "Welcome.<end_of_turn>",
    ]
    assert learned(tokenizer, known.WORDS) == ["Hello!<end_of_turn>"]


def test_a_call_that_is_not_trained_on_is_not_learned(tokenizer):
    messages = [dict(message) for message in known.TWO]
    messages[2]["train"] = False
    assert learned(tokenizer, messages) == ["It is ten.<end_of_turn>"]


@rendered
@given(conversations())
def test_the_ids_are_those_of_the_whole_text_and_each_answer_is_learned(tokenizer, found):
    messages, tools = found
    text = render(messages, tools)
    ids, _ = tokenizer.encode_conversation(text)
    assert ids == [tokenizer.bos, *tokenizer.encode(text)]
    answers = [message for message in messages if message["role"] == "assistant"]
    assert len(learned(tokenizer, messages, tools)) == len(answers)


def test_the_vocabulary_decides(tokenizer, tokenizer_path):
    plain = GemmaTokenizer(tokenizer_path)
    assert (plain.has_functions, plain.function_ids) == (False, {})
    assert tokenizer.has_functions and list(tokenizer.function_ids) == list(FUNCTION_PIECES)
    assert tokenizer.stop_pieces() == ("<eos>", "<end_of_turn>", "<start_function_response>")
