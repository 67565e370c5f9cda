"""What LiteRT-LM feeds the model with the bundle's own template and tokens, as on a phone."""

import litert_lm
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conversations import text, turns, with_system
from gemma_finetune.formats.chat_template import render, render_prompt

pytestmark = pytest.mark.slow

GREEDY = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
QUESTIONS = ["Turn on the light in the kitchen, please.", "And the living room?", "ok"]
TEXTS = st.lists(text(), min_size=1, max_size=7).filter(lambda texts: len(texts) % 2)
QUESTIONS_AND_ANSWERS = TEXTS.map(turns)  # the last is a question


@pytest.fixture(scope="module")
def engines(models):
    """An engine for each bundle; it counts what it prefills."""
    cpu = litert_lm.Backend.CPU(thread_count=1)
    opened = {
        kind: litert_lm.Engine(str(models[kind]), cpu, cache_dir=":nocache", enable_benchmark=True)
        for kind in ("task", "litertlm")
    }
    yield opened
    for engine in opened.values():
        engine.close()


def chat(engine, questions, system=None):
    """For each question: the messages up to it, LiteRT-LM's prompt for it, tokens prefilled."""
    messages = with_system(system, [])
    history = messages or None
    with engine.create_conversation(messages=history, sampler_config=GREEDY) as conversation:
        for question in questions:
            messages = [*messages, {"role": "user", "content": question}]
            prompt = conversation.render_message_to_string(question)
            answer = str(conversation.send_message(question, max_output_tokens=12))
            yield messages, prompt, conversation.get_benchmark_info().last_prefill_token_count
            messages = [*messages, {"role": "assistant", "content": answer}]


def held(messages):
    """Training's text of what is in the cache before a question, up to an <end_of_turn>."""
    return render(messages[:-1]).removesuffix("\n") if len(messages) > 2 else ""


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.none() | text(max_size=6), st.lists(text(max_size=6), min_size=2, max_size=3))
@example(None, QUESTIONS)
@example("Be brief.", QUESTIONS)
@example(" \n Be brief.\n\n", ["\n\nHi ", " on\n", "```tool_code\nlight()\n```"])
def test_a_litertlm_feeds_the_model_what_training_did_in_every_turn(
    engines, tokenizer, system, questions
):
    engine = engines["litertlm"]
    for messages, prompt, prefilled in chat(engine, questions, system):
        text, ids = render_prompt(messages), engine.tokenize(prompt)
        assert held(messages) + prompt == text
        assert tokenizer.encode(held(messages)) + ids == tokenizer.encode(text)
        is_first = messages[-1] is next(m for m in messages if m["role"] == "user")
        assert prefilled == is_first + len(ids)  # the first prompt has a <bos> in front


@settings(derandomize=True, deadline=None)
@given(st.none() | text(), QUESTIONS_AND_ANSWERS)
def test_a_litertlm_goes_on_with_any_conversation_as_training_has_it(
    engines, tokenizer, system, conversation
):
    engine, messages = engines["litertlm"], with_system(system, conversation)
    with engine.create_conversation(messages=messages[:-1] or None) as opened:
        prompt = opened.render_message_to_string(messages[-1]["content"])
    assert prompt == render_prompt(messages)
    assert engine.tokenize(prompt) == tokenizer.encode(render_prompt(messages))
    assert engine.bos_token_id == tokenizer.bos


def test_a_task_lacks_the_line_break_behind_an_answer(engines):
    """Its prefixes and suffixes can say no better (export/bundle.py)."""
    for messages, prompt, _ in chat(engines["task"], QUESTIONS):
        lost = "" if len(messages) == 1 else "\n"
        assert held(messages) + lost + prompt == render_prompt(messages)


def test_a_task_puts_a_system_text_before_the_first_turn_and_trims_nothing(engines):
    messages, prompt, _ = next(chat(engines["task"], [" Hi "], system="Be brief."))
    assert prompt == "Be brief.<start_of_turn>user\n Hi <end_of_turn>\n<start_of_turn>model\n"
