"""A .task or .litertlm on LiteRT-LM, the runtime that phones use.

Tokenizer, template engine and sampler are the runtime's. The template is given to every bundle: a
.task has none (export/bundle.py says what is lost), and a .litertlm of another pipeline may lose
the line break between an answer and the next turn.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import litert_lm

from gemma_finetune.config import END_OF_TURN, FUNCTION_PIECES, START_OF_TURN
from gemma_finetune.formats.bundle_file import BundleFile
from gemma_finetune.formats.chat_template import fold_system, litertlm_template, render_prompt
from gemma_finetune.formats.function_calls import answer_message
from gemma_finetune.inference.interface import Backend, PromptTooLong, Usage
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.runtime.engine import function_options, open_engine, said
from gemma_finetune.utils.errors import UserError

_ADVICE = "make the bundle again with `dvc repro bundle`"


class BundleBackend(Backend):
    """Keeps one conversation of the runtime open: a prompt that continues it only adds to it."""

    def __init__(self, path: str | Path, threads: int, gpu: bool = False):
        bundle = BundleFile(path)
        model = bundle.model()
        self._vocabulary_size, self.context_length = model.vocabulary_size(), model.cache_length()
        _check_vocabulary(path, bundle.tokenizer().GetPieceSize(), self._vocabulary_size)
        self._engine = open_engine(path, threads, gpu=gpu)
        _check_turn_tokens(path, self._engine)
        self.has_functions = all(
            len(self._engine.tokenize(piece)) == 1 for piece in FUNCTION_PIECES
        )
        # The open conversation, its functions, and the turns in its KV cache.
        self._conversation: litert_lm.Conversation | None = None
        self._tools: list[dict] = []
        self._turns: list[dict] = []
        self.weights = Path(path)
        place = "the GPU" if gpu else f"the CPU, {threads} threads"
        self.description = f"LiteRT-LM on {place}: {path}"

    def count_tokens(self, text: str) -> int:
        return 1 + len(self._engine.tokenize(text))  # the runtime puts BOS in front

    def generate(
        self,
        messages: list[dict],
        sampler: Sampler,
        max_tokens: int,
        tools: Sequence[dict] = (),
    ) -> Iterator[str]:
        # ValueError for what the template has no place for
        prompt = self.render_prompt(messages, tools)
        turns = list(messages) if self.has_functions else fold_system(messages)
        conversation, held = self._resume(turns[:-1], sampler, list(tools))
        if held and self.has_functions:
            read = self.count_tokens(prompt) - held
        elif held:
            read = len(self._engine.tokenize("\n" + render_prompt(turns[-1:])))
        else:
            read = self.count_tokens(prompt)
        limit = min(max_tokens, self.context_length - held - read)
        if limit <= 0:
            raise PromptTooLong(held + read, self.context_length)

        pieces = []
        for piece in self._send(conversation, turns[-1], sampler, limit):
            pieces.append(piece)
            yield piece
        text = "".join(pieces)

        written = conversation.token_count - held - read  # a stop token counts
        stopped = written < limit or len(self._engine.tokenize(text)) < limit
        self.usage = Usage(
            prompt=held + read, read=read, answer=written - stopped, complete=stopped
        )
        self._turns = [*turns, answer_message(text)]
        # An answer that was cut off has no <end_of_turn> in the cache, and the template would trim
        # one with space around it: nothing can follow on such a cache.
        # A .task keeps calls as text, which the template would not write again as calls.
        as_text = self.has_functions and self.weights.suffix == ".task"
        if written >= limit or text != text.strip() or as_text:
            self._forget()

    def close(self) -> None:
        self._forget()
        self._engine.close()

    def _resume(
        self, history: list[dict], sampler: Sampler, tools: list[dict]
    ) -> tuple[litert_lm.Conversation, int]:
        """A conversation that holds `history`, and how many tokens it has read already.

        The open one, if it holds `history` and decoding is greedy. A sampled answer needs a new
        one, so that it depends on its seed alone: in the open one the random draws would go on
        where those of the last answer ended.
        """
        is_open = self._turns == history and self._tools == tools
        if self._conversation and is_open and sampler.temperature == 0:
            return self._conversation, self._conversation.token_count
        self._forget()
        self._conversation = self._engine.create_conversation(
            messages=history,
            sampler_config=self._sampler_config(sampler),
            chat_template=litertlm_template(self.has_functions),
            **function_options(tools),
        )
        self._tools = tools
        return self._conversation, 0

    def _send(
        self, conversation: litert_lm.Conversation, turn: dict, sampler: Sampler, limit: int
    ) -> Iterator[str]:
        """The answer's pieces. A conversation that fails or is stopped half-way is closed."""
        options = {}
        if sampler.repetition_penalty != 1:
            options["repetition_penalty_config"] = litert_lm.RepetitionPenaltyConfig(
                repetition_penalty=sampler.repetition_penalty
            )
        message = turn["content"] if turn["role"] == "user" else turn
        finished = False
        try:
            for part in conversation.send_message_async(
                message, max_output_tokens=limit, **options
            ):
                yield said(part)
            finished = True
        except RuntimeError as error:
            if not self.has_functions:
                raise
            raise UserError(f"LiteRT-LM cannot read the model's call ({error})")
        finally:
            if not finished:
                conversation.cancel_process()
                self._forget()

    def _sampler_config(self, sampler: Sampler) -> litert_lm.SamplerConfig:
        if sampler.temperature == 0:
            return litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
        return litert_lm.SamplerConfig(
            top_k=sampler.top_k or self._vocabulary_size,
            top_p=sampler.top_p,
            temperature=sampler.temperature,
            seed=sampler.seed,
        )

    def _forget(self) -> None:
        if self._conversation:
            self._conversation.close()
        self._conversation, self._turns = None, []


def _check_vocabulary(path: str | Path, pieces: int, logits: int) -> None:
    """UserError unless the bundle's tokenizer is its model's."""
    if pieces != logits:
        raise UserError(
            f"{path}: the tokenizer is of another model: it has {pieces} pieces, the model "
            f"{logits} logits; {_ADVICE}"
        )


def _check_turn_tokens(path: str | Path, engine: litert_lm.Engine) -> None:
    """UserError unless turns open with one token and an answer ends with one, as Gemma's do."""
    start, end = engine.tokenize(START_OF_TURN), engine.tokenize(END_OF_TURN)
    if len(start) != 1 or len(end) != 1 or end not in engine.eos_token_ids:
        raise UserError(
            f"{path}: {END_OF_TURN} does not end an answer; this is not a Gemma 3 bundle, "
            f"or {_ADVICE}"
        )
