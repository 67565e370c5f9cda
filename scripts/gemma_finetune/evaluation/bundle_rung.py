"""A `.task` or `.litertlm` as a phone runs it: LiteRT-LM opens it, renders the chat, decodes and
stops.

The runtime is believed only so far: each prompt's token ids, and how many tokens it really
prefilled, are compared with what the model was trained on before the answer counts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import litert_lm

from gemma_finetune.evaluation.dataset import Conversation, Turn, prompt_ids
from gemma_finetune.evaluation.liveness import Answer, FollowUp
from gemma_finetune.formats.chat_template import render_prompt
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.runtime.threads import thread_count
from gemma_finetune.utils.cli import UserError

GREEDY = litert_lm.SamplerConfig(top_k=1, temperature=0.0)


@contextmanager
def opened(path: str | Path) -> Iterator[litert_lm.Engine]:
    """LiteRT-LM with the bundle loaded, on the CPU. It writes no cache beside the file."""
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.FATAL)
    backend = litert_lm.Backend.CPU(thread_count=thread_count(path))
    try:
        engine = litert_lm.Engine(
            str(path), backend=backend, cache_dir=":nocache", enable_benchmark=True
        )
    except RuntimeError as error:
        raise UserError(f"{path}: LiteRT-LM cannot open it ({error}); run `dvc repro bundle`")
    with engine:
        yield engine


def check_tokens(path: str | Path, engine: litert_lm.Engine, tokenizer: GemmaTokenizer) -> None:
    """UserError unless the bundle's start and stop tokens are the tokenizer's own."""
    stops = sorted(id for sequence in engine.eos_token_ids for id in sequence)
    if engine.bos_token_id != tokenizer.bos:
        raise UserError(
            f"{path}: hop bundle: start token is {engine.bos_token_id}, <bos> is {tokenizer.bos}"
        )
    if stops != sorted(tokenizer.stop_ids):
        raise UserError(
            f"{path}: hop bundle: stop tokens are {stops}, training ends turns with {tokenizer.stop_ids}"
        )


def answers(
    path: str | Path, turns: Sequence[Turn], tokenizer: GemmaTokenizer, max_tokens: int
) -> Iterator[Answer]:
    """LiteRT-LM's greedy answer to each turn, after the reference conversation before it."""
    with opened(path) as engine:
        check_tokens(path, engine, tokenizer)
        for turn in turns:
            yield _answer(path, engine, turn, tokenizer, max_tokens)


def follow_ups(
    path: str | Path, conversations: Sequence[Conversation], max_tokens: int
) -> Iterator[FollowUp]:
    """LiteRT-LM's second answer in a chat that it holds itself, as on a phone, for each
    conversation that has one.

    A `.litertlm` must append to the first answer exactly what training has there. A `.task` cannot:
    it lacks the line break after the model's `<end_of_turn>` (export/bundle.py), so the measured
    answer is the phone's, break missing.
    """
    with opened(path) as engine:
        for conversation in conversations:
            if len(conversation.turns) > 1:
                first, second = conversation.turns[:2]
                with engine.create_conversation(sampler_config=GREEDY) as chat:
                    said = _send(path, chat, first, max_tokens).text
                    _check_follow_up(path, chat, second)
                    answer = _send(path, chat, second, max_tokens)
                yield FollowUp(second, answer, same_start=said.strip() == first.answer.strip())


def _send(path, chat, turn, max_tokens):
    try:
        text = str(chat.send_message(turn.messages[-1]["content"], max_output_tokens=max_tokens))
    except RuntimeError as error:
        raise UserError(
            f"{path}: hop bundle: LiteRT-LM fails on test row {turn.conversation} ({error}); if it is long, raise "
            "export.cache_length or add a small one to export.prefill_lengths"
        )
    stopped = chat.get_benchmark_info().last_decode_token_count < max_tokens
    return Answer(text, stopped, turn=len(turn.messages) // 2 + 1)


def _answer(path, engine, turn, tokenizer, max_tokens):
    expected = prompt_ids(turn.messages, tokenizer)
    with engine.create_conversation(
        messages=list(turn.messages[:-1]), sampler_config=GREEDY
    ) as chat:
        rendered = chat.render_message_to_string(turn.messages[-1]["content"])
        _check_prompt(path, engine, rendered, turn, expected)
        answer = _send(path, chat, turn, max_tokens)
        read = chat.get_benchmark_info().last_prefill_token_count
    if read != len(expected):
        raise UserError(
            f"{path}: hop bundle: the runtime read {read} tokens for a prompt of "
            f"{len(expected)}, BOS included; look for a missing or second <bos> in its template and start token"
        )
    return answer


def _check_follow_up(path, chat, turn):
    """What the runtime appends to its own answer against what training has behind an answer's
    <end_of_turn>.
    """
    question = turn.messages[-1]
    rendered, text = (
        chat.render_message_to_string(question["content"]),
        "\n" + render_prompt([question]),
    )
    if rendered != (text if Path(path).suffix == ".litertlm" else text.removeprefix("\n")):
        raise UserError(
            f"{path}: hop bundle: it opens a later turn otherwise than training; run `dvc repro bundle`\n"
            f"  bundle:   {rendered!r}\n  training: {text!r}"
        )


def _check_prompt(path, engine, rendered, turn, expected):
    """Token ids as the runtime makes them against those of training."""
    if [engine.bos_token_id, *engine.tokenize(rendered)] == expected:
        return
    text = render_prompt(list(turn.messages))
    cause = "holds another tokenizer" if rendered == text else "has another chat template"
    raise UserError(
        f"{path}: hop bundle: it {cause} than training had; run `dvc repro bundle`\n"
        f"  bundle:   {rendered!r}\n  training: {text!r}"
    )
