"""A .task or .litertlm on LiteRT-LM, the runtime that phones use: its tokenizer, its template
engine, its sampler.

The template is given to every bundle: a .task has none (export/bundle.py says what is lost), and a
foreign .litertlm may lose the line break between an answer and the next turn.
"""

from collections.abc import Iterator
from pathlib import Path

import litert_lm

from gemma_finetune.config import END_OF_TURN, START_OF_TURN
from gemma_finetune.formats.bundle_file import BundleFile
from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE, fold_system, render_prompt
from gemma_finetune.inference.interface import Backend, PromptTooLong, Usage
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.cli import UserError

_ADVICE = "make the bundle again with `dvc repro bundle`"


class BundleBackend(Backend):
    """The runtime keeps one conversation and its KV cache; a prompt that continues it only adds to
    it.
    """

    def __init__(self, path: str | Path, threads: int):
        litert_lm.set_min_log_severity(litert_lm.LogSeverity.FATAL)
        bundle = BundleFile(path)
        model = bundle.model()
        self._vocabulary_size, self.context_length = model.vocabulary_size(), model.cache_length()
        _check_vocabulary(path, bundle.tokenizer().GetPieceSize(), self._vocabulary_size)
        self._engine = _open_engine(path, threads)
        _check_turn_tokens(path, self._engine)
        self._conversation, self._turns = (
            None,
            [],
        )  # the conversation that is open, and what it holds
        self.weights = Path(path)
        self.description = f"LiteRT-LM on the CPU, {threads} threads: {path}"

    def count_tokens(self, text):
        return 1 + len(self._engine.tokenize(text))  # the runtime puts BOS in front

    def generate(self, messages, sampler, max_tokens) -> Iterator[str]:
        prompt = render_prompt(messages)  # ValueError for what the template has no place for
        turns = fold_system(messages)
        held = self._resume(turns[:-1], sampler)
        if held:
            read = len(self._engine.tokenize("\n" + render_prompt(turns[-1:])))
        else:
            read = self.count_tokens(prompt)
        limit = min(max_tokens, self.context_length - held - read)
        if limit <= 0:
            raise PromptTooLong(held + read, self.context_length)
        pieces = []
        for piece in self._send(turns[-1]["content"], sampler, limit):
            pieces.append(piece)
            yield piece
        self._finish(turns, "".join(pieces), held, read, limit)

    def close(self):
        self._forget()
        self._engine.close()

    def _resume(self, history, sampler):
        """Keeps the conversation if it holds `history`, else opens one that does; returns the
        tokens it has read.

        Draws go on where an earlier answer's ended, so a sampled answer begins anew: it depends on
        its seed alone.
        """
        if self._conversation and self._turns == history and sampler.temperature == 0:
            return self._conversation.token_count
        self._forget()
        self._conversation = self._engine.create_conversation(
            messages=history,
            sampler_config=self._sampler_config(sampler),
            chat_template=LITERTLM_TEMPLATE,
        )
        return 0

    def _finish(self, turns, text, held, read, limit):
        """Notes what the answer took. One that was cut off has no <end_of_turn> in the cache, so
        nothing can follow.
        """
        spent = self._conversation.token_count - held - read  # a stop token is counted
        stopped = spent < limit or len(self._engine.tokenize(text)) < limit
        self.usage = Usage(prompt=held + read, read=read, answer=spent - stopped, complete=stopped)
        self._turns = [*turns, {"role": "assistant", "content": text.strip()}]
        if spent >= limit or text != text.strip():
            self._forget()

    def _send(self, text, sampler, limit):
        """The answer's pieces. A conversation that is stopped half-way, or fails, is closed: its
        cache is no use.
        """
        penalty = litert_lm.RepetitionPenaltyConfig(repetition_penalty=sampler.repetition_penalty)
        options = {"repetition_penalty_config": penalty} if sampler.repetition_penalty != 1 else {}
        finished = False
        try:
            for message in self._conversation.send_message_async(
                text, max_output_tokens=limit, **options
            ):
                yield str(message)
            finished = True
        finally:
            if not finished:
                self._conversation.cancel_process()
                self._forget()

    def _sampler_config(self, sampler: Sampler):
        if sampler.temperature == 0:
            return litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
        return litert_lm.SamplerConfig(
            top_k=sampler.top_k or self._vocabulary_size,
            top_p=sampler.top_p,
            temperature=sampler.temperature,
            seed=sampler.seed,
        )

    def _forget(self):
        if self._conversation:
            self._conversation.close()
        self._conversation, self._turns = None, []


def _open_engine(path, threads):
    try:  # ":nocache": it would else write a cache file beside the model, into DVC's output
        backend = litert_lm.Backend.CPU(thread_count=threads)
        return litert_lm.Engine(str(path), backend=backend, cache_dir=":nocache")
    except RuntimeError:
        raise UserError(f"{path}: LiteRT-LM cannot load it; make it again with `dvc repro bundle`")


def _check_vocabulary(path, pieces, logits):
    """UserError unless the bundle's tokenizer is its model's."""
    if pieces != logits:
        raise UserError(
            f"{path}: the tokenizer is of another model: it has {pieces} pieces, the model {logits} logits; {_ADVICE}"
        )


def _check_turn_tokens(path, engine):
    """UserError unless turns open with one token and an answer ends with one, as Gemma's do."""
    start, end = engine.tokenize(START_OF_TURN), engine.tokenize(END_OF_TURN)
    if len(start) != 1 or len(end) != 1 or end not in engine.eos_token_ids:
        raise UserError(
            f"{path}: {END_OF_TURN} does not end an answer; this is not a Gemma 3 bundle, or {_ADVICE}"
        )
