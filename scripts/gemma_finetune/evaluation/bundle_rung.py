"""Answers of a `.task` or `.litertlm` from LiteRT-LM, which renders, decodes and stops by itself.

The runtime is not trusted: before an answer counts, the token ids of its prompt and the number of
tokens that were really prefilled are compared with what the model was trained on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import litert_lm

from gemma_finetune.config import START_RESPONSE
from gemma_finetune.evaluation.dataset import Answer, Conversation, FollowUp, Turn, prompt_ids
from gemma_finetune.formats.bundle_file import BundleFile
from gemma_finetune.formats.chat_template import litertlm_template, render_prompt
from gemma_finetune.formats.function_calls import render_responses
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.runtime.engine import function_options, open_engine, said
from gemma_finetune.runtime.threads import thread_count
from gemma_finetune.utils.errors import UserError

Options = dict[str, Any]
GREEDY = litert_lm.SamplerConfig(top_k=1, temperature=0.0)


def answers(
    path: str | Path, turns: Sequence[Turn], tokenizer: GemmaTokenizer, max_tokens: int
) -> Iterator[Answer]:
    """LiteRT-LM's greedy answer to each turn, after the reference conversation before it.

    It ends by itself, after `max_tokens`, or where the model's cache is full.
    """
    room = BundleFile(path).model().cache_length()
    with open_engine(path, thread_count(path), benchmark=True) as engine:
        check_tokens(path, engine, tokenizer)
        for turn in turns:
            yield _answer(path, engine, turn, tokenizer, max_tokens, room)


def follow_ups(
    path: str | Path, conversations: Sequence[Conversation], max_tokens: int
) -> Iterator[FollowUp]:
    """LiteRT-LM's second answer in chats that it holds itself, as on a phone.

    One for each conversation of two turns or more that the cache has room for. A `.litertlm` must
    append to the first answer exactly what training has there. A `.task` cannot: it lacks the line
    break after the model's `<end_of_turn>` (export/bundle.py), so its answer is measured as a phone
    gives it, without the line break.
    """
    room = BundleFile(path).model().cache_length()
    with open_engine(path, thread_count(path), benchmark=True) as engine:
        for conversation in conversations:
            if len(conversation.turns) > 1:
                first, second = conversation.turns[:2]
                if len(second.messages) > len(first.messages) + 2:
                    continue  # an answer with `train: false` is between them
                if found := _follow_up(path, engine, first, second, max_tokens, room):
                    yield found


def check_tokens(path: str | Path, engine: litert_lm.Engine, tokenizer: GemmaTokenizer) -> None:
    """UserError unless the bundle's start and stop tokens are the tokenizer's own."""
    stops = sorted(id for sequence in engine.eos_token_ids for id in sequence)
    if engine.bos_token_id != tokenizer.bos:
        raise UserError(
            f"{path}: hop bundle: start token is {engine.bos_token_id}, <bos> is {tokenizer.bos}"
        )
    if stops != sorted(tokenizer.stop_ids):
        raise UserError(
            f"{path}: hop bundle: stop tokens are {stops}, "
            f"training ends turns with {tokenizer.stop_ids}"
        )


def _answer(
    path: str | Path,
    engine: litert_lm.Engine,
    turn: Turn,
    tokenizer: GemmaTokenizer,
    max_tokens: int,
    room: int,
) -> Answer:
    history = list(turn.messages[:-1])
    expected = prompt_ids(turn.messages, tokenizer, turn.tools)
    with engine.create_conversation(
        messages=history, sampler_config=GREEDY, **_options(path, turn)
    ) as chat:
        rendered = chat.render_message_to_string(_question(turn))
        _check_prompt(path, engine, rendered, turn, expected)
        answer = _send(path, chat, turn, min(max_tokens, room - len(expected)))
        read = chat.get_benchmark_info().last_prefill_token_count
    if read != len(expected):
        raise UserError(
            f"{path}: hop bundle: the runtime read {read} tokens for a prompt of {len(expected)}, "
            "BOS included; look for a missing or second <bos> in its template and start token"
        )
    return answer


def _options(path: str | Path, turn: Turn) -> Options:
    """What a conversation with functions needs. A `.task` has no template: an app writes it."""
    if turn.tools is None:
        return {}
    options = function_options(turn.tools)
    if Path(path).suffix == ".task":
        options["chat_template"] = litertlm_template(has_functions=True)
    return options


def _question(turn: Turn) -> str | dict:
    """What is sent to the runtime: the user's text, or the results of calls."""
    question = turn.messages[-1]
    return question if question["role"] == "tool" else question["content"]


def _follow_up(
    path: str | Path,
    engine: litert_lm.Engine,
    first: Turn,
    second: Turn,
    max_tokens: int,
    room: int,
) -> FollowUp | None:
    """None if the cache is full before the second answer begins, or if it would be an answer to
    the results of calls that were not made.
    """
    history = list(first.messages[:-1]) or None
    with engine.create_conversation(
        messages=history, sampler_config=GREEDY, **_options(path, first)
    ) as chat:
        first_answer = _send(path, chat, first, min(max_tokens, room // 2))
        same_start = first_answer.text.strip() == first.answer.strip()
        if first.tools and (not same_start or Path(path).suffix == ".task"):
            return None
        rendered = _check_follow_up(path, chat, second)
        left = room - chat.token_count - len(engine.tokenize(rendered))
        if left <= 0:
            return None
        second_answer = _send(path, chat, second, min(max_tokens, left))
    return FollowUp(second, second_answer, same_start)


def _send(path: str | Path, chat: litert_lm.AbstractConversation, turn: Turn, limit: int) -> Answer:
    """The answer to the turn's question, in a chat that holds what comes before it."""
    try:
        text = said(chat.send_message(_question(turn), max_output_tokens=limit))
    except RuntimeError as error:
        if turn.tools:  # a call that it cannot read: an app gets no answer
            return Answer("", tokens=0, stopped=True)
        raise UserError(
            f"{path}: hop bundle: LiteRT-LM fails on test row {turn.conversation} ({error}); if it "
            "is long, raise export.cache_length or add a small one to export.prefill_lengths"
        )
    tokens = chat.get_benchmark_info().last_decode_token_count
    return Answer(text, tokens, stopped=tokens < limit)


def _check_prompt(
    path: str | Path, engine: litert_lm.Engine, rendered: str, turn: Turn, expected: list[int]
) -> None:
    """UserError unless the runtime makes the same token ids of the prompt as training."""
    if [engine.bos_token_id, *engine.tokenize(rendered)] == expected:
        return
    text = render_prompt(list(turn.messages), turn.tools)
    cause = "holds another tokenizer" if rendered == text else "has another chat template"
    raise UserError(
        f"{path}: hop bundle: it {cause} than training had; run `dvc repro bundle`\n"
        f"  bundle:   {rendered!r}\n  training: {text!r}"
    )


def _check_follow_up(path: str | Path, chat: litert_lm.AbstractConversation, turn: Turn) -> str:
    """What the runtime appends to its own answer. UserError unless training has the same there."""
    question = turn.messages[-1]
    rendered = chat.render_message_to_string(_question(turn))
    if question["role"] == "tool":  # the model itself wrote the piece that begins a response
        text = render_responses(question["content"]).removeprefix(START_RESPONSE)
    else:
        text = "\n" + render_prompt([question])
    expected = text if Path(path).suffix == ".litertlm" else text.removeprefix("\n")
    if rendered != expected:
        raise UserError(
            f"{path}: hop bundle: it opens a later turn differently from training; "
            f"run `dvc repro bundle`\n  bundle:   {rendered!r}\n  training: {text!r}"
        )
    return rendered
