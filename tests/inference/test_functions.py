"""Calls at run time: LiteRT-LM reads them as structures, and every backend makes the same ones."""

import json
import sys

import litert_lm
import pytest
from hypothesis import HealthCheck, assume, given, settings

import function_model as known
from function_cases import conversations
from gemma_finetune.formats.bundle_file import BundleFile
from gemma_finetune.formats.chat_template import render, render_prompt
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.inference.backend import open_backend
from gemma_finetune.inference.batch import read_requests, refuse_too_long
from gemma_finetune.inference.chat import ChatSession
from gemma_finetune.inference.functions import Commands
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.inference.terminal import converse_piped
from gemma_finetune.runtime.engine import function_options, open_engine
from gemma_finetune.utils.errors import UserError
from inference.conftest import CONFIG

pytestmark = pytest.mark.slow
GREEDY = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
KINDS = ("litertlm", "task", "tflite", "keras")


@pytest.fixture(scope="module")
def engine(function_models):
    with open_engine(function_models["litertlm"], 1, benchmark=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def function_tokenizer(function_tokenizer_path):
    return GemmaTokenizer(function_tokenizer_path)


@pytest.fixture(params=KINDS)
def session(request, function_models):
    path = str(function_models[request.param])
    with open_backend(None, path, CONFIG) as backend:
        yield ChatSession(backend, Sampler(), 48, known.ACTIVATION, known.APP_TOOLS)


def test_the_bundle_says_how_calls_are_read(function_models):
    contents = BundleFile(function_models["litertlm"]).contents()
    assert contents.model_type == "function_gemma"
    assert contents.stop_tokens == ("<eos>", "<end_of_turn>", "<start_function_response>")
    assert BundleFile(function_models["task"]).contents().stop_tokens == contents.stop_tokens


@settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(conversations())
def test_litert_lm_renders_training_s_prompt(engine, found):
    messages, tools = found
    for end, message in enumerate(messages):
        if message["role"] not in ("user", "tool"):
            continue
        options = function_options(tools)
        with engine.create_conversation(messages=messages[:end], **options) as chat:
            rendered = chat.render_message_to_string(message)
        assert rendered == render_prompt(messages[: end + 1], tools)


@settings(derandomize=True, deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(conversations())
def test_litert_lm_reads_training_s_tokens(engine, function_tokenizer, found):
    messages, tools = found
    last = max(n for n, turn in enumerate(messages) if turn["role"] in ("user", "tool"))
    tokens = 1 + len(function_tokenizer.encode(render_prompt(messages[: last + 1], tools)))
    assume(tokens < known.CACHE_LENGTH)
    with engine.create_conversation(
        messages=messages[:last], sampler_config=GREEDY, **function_options(tools)
    ) as chat:
        chat.send_message(messages[last], max_output_tokens=1)
        assert chat.get_benchmark_info().last_prefill_token_count == tokens
        assert chat.token_count == tokens + 1


def test_the_runtime_s_calls_are_structures_and_its_cache_holds_training_s_tokens(
    engine, function_tokenizer
):
    options = function_options(known.APP_TOOLS)
    with engine.create_conversation(
        messages=known.ONE[:1], sampler_config=GREEDY, **options
    ) as chat:
        answer = chat.send_message("Hall light", max_output_tokens=48)
        (call,) = answer.tool_calls
        assert (call.name, dict(call.arguments)) == (
            "set_light", {"level": 40, "on": True, "room": "hall"},
        )  # fmt: skip
        final = chat.send_message(known.ONE[3], max_output_tokens=48)
        assert (str(final), final.tool_calls) == ("The light is on.", [])
        text = render(known.ONE[:5], known.TOOLS).removesuffix("\n")
        assert chat.token_count == 1 + len(function_tokenizer.encode(text))


def test_a_chat_with_calls(session):
    list(session.ask("Hall light"))
    assert session.calls == [
        {"name": "set_light", "arguments": {"level": 40, "on": True, "room": "hall"}}
    ]
    with pytest.raises(UserError, match="wait for their results"):
        session.ask("Thanks")
    assert "".join(session.give([{"ok": True}])) == "The light is on."
    assert "".join(session.ask("Thanks")).strip() == "Welcome."
    assert session.messages == known.ONE

    assert session.undo() and session.undo() and session.messages == [known.SYSTEM]
    list(session.ask("Light and time"))
    assert [call["name"] for call in session.calls] == ["set_light", "get_time"]
    assert "".join(session.give([{"ok": True}, "ten"])) == "It is ten."
    assert session.messages == known.TWO
    session.reset()
    assert "".join(session.ask("Hello")) == "Hello!" and not session.calls


def test_a_chat_is_saved_as_a_row_that_the_data_stages_read(function_models, tmp_path):
    with open_backend(None, str(function_models["litertlm"]), CONFIG) as backend:
        session = ChatSession(backend, Sampler(), 48, known.ACTIVATION, known.TOOLS)
        commands = Commands.parse(
            [f'set_light={sys.executable} -c "print(\'{{\\"ok\\": true}}\')"'], known.TOOLS
        )
        converse_piped(session, ["Light and time", "ten"], commands)
        session.save(tmp_path / "chat.jsonl")
        again = ChatSession(backend, Sampler(), 48)
        again.load(tmp_path / "chat.jsonl")
    assert session.messages == again.messages == known.TWO
    assert again.tools[1] == {
        "type": "function",
        "function": {"name": "get_time", "description": ""},
    }


def test_rows_with_functions_are_answered(function_models, tmp_path):
    path = tmp_path / "rows.jsonl"
    calls = [{"id": "a", "function": {"name": "get_time", "arguments": "{}"}}]
    history = [*known.WORDS[:2], {"role": "assistant", "tool_calls": calls}]
    rows = [
        {"tools": known.APP_TOOLS, "messages": known.TWO[:3]},
        {"tools": known.TOOLS, "messages": [*history, {"role": "tool", "content": "ten"}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_requests(path)
    assert first.reference.startswith("Yes.<start_function_call>call:set_light{room:")
    assert second.messages[-1]["content"] == [{"name": "get_time", "response": {"result": "ten"}}]
    with open_backend(None, str(function_models["litertlm"]), CONFIG) as backend:
        refuse_too_long([first, second], backend, path)
        answer = "".join(backend.generate(first.messages, Sampler(), 48, first.tools))
    answered = first.answered(answer)
    assert answered["messages"] == known.TWO[:3]
    assert answered["reference"] == answer


def test_a_base_without_functions_is_given_none(models):
    with open_backend(None, str(models["tflite"]), CONFIG) as backend:
        with pytest.raises(UserError, match="function_gemma_instruct_270m"):
            ChatSession(backend, Sampler(), 8, tools=known.TOOLS)
