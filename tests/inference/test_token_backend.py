"""The text side of Keras and TFLite, on a scripted model: what it was fed is what counts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.formats.chat_template import render_prompt
from gemma_finetune.inference.interface import PromptTooLong
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.inference.token_backend import TokenBackend, check_vocabulary, to_text
from gemma_finetune.utils.errors import UserError


class ScriptedModel:
    """Says `answers` in turn; `cache` is what it holds, `fed` how many tokens it was fed."""

    def __init__(self, tokenizer, answers, cache_length=200):
        self.cache_length, self.cache, self.fed = cache_length, [], 0
        self._vocabulary = tokenizer.vocabulary_size
        self._script = []
        for answer in answers:
            self._script += [*tokenizer.encode(answer), tokenizer.end_of_turn]

    @property
    def position(self):
        return len(self.cache)

    def rewind(self, position):
        assert 0 <= position <= len(self.cache)
        del self.cache[position:]

    def prefill(self, ids):
        self.cache += ids
        self.fed += len(ids)

    def decode(self, token):
        self.prefill([token])
        assert len(self.cache) <= self.cache_length
        logits = np.zeros(self._vocabulary, np.float32)
        logits[self._script.pop(0)] = 1
        return logits


def backend(tokenizer, *answers, cache_length=200):
    model = ScriptedModel(tokenizer, answers, cache_length)
    return model, TokenBackend(model, tokenizer, Path("weights"), "scripted")


def ask(backend, *contents, max_tokens=50):
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return "".join(backend.generate(messages, Sampler(), max_tokens))


def test_feeds_the_template_with_one_bos_and_stops_at_the_end_of_the_turn(tokenizer):
    model, scripted = backend(tokenizer, "Turn on", "never said")
    assert ask(scripted, "hello") == "Turn on"
    text = render_prompt([{"role": "user", "content": "hello"}])
    prompt, said = [tokenizer.bos, *tokenizer.encode(text)], tokenizer.encode("Turn on")
    assert model.cache == prompt + said
    assert (scripted.usage.prompt, scripted.usage.read) == (len(prompt), len(prompt))
    assert (scripted.usage.answer, scripted.usage.complete) == (len(said), True)


def test_stops_at_max_tokens(tokenizer):
    model, scripted = backend(tokenizer, "light light light")
    assert "light light light".startswith(ask(scripted, "hello", max_tokens=3))
    assert (scripted.usage.answer, scripted.usage.complete) == (3, False)


def test_a_second_turn_feeds_only_what_is_new(tokenizer):
    model, scripted = backend(tokenizer, "Turn on", "kitchen")
    ask(scripted, "hello")
    fed, held = model.fed, len(model.cache)
    assert ask(scripted, "hello", "Turn on", "and you?") == "kitchen"
    new = tokenizer.encode(
        "<end_of_turn>\n<start_of_turn>user\nand you?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert model.fed - fed == len(new) + len(tokenizer.encode("kitchen"))
    assert model.cache[held : held + len(new)] == new
    assert scripted.usage.read == len(new)


def test_an_answer_keeps_the_ids_it_was_chosen_with(tokenizer):
    """A model may spell a word in other tokens than the tokenizer would; its cache holds those."""
    model, scripted = backend(tokenizer)
    letters = [tokenizer.encode(letter)[0] for letter in "kitchen"]
    assert letters != tokenizer.encode("kitchen")
    model._script = [*letters, tokenizer.end_of_turn, tokenizer.end_of_turn]
    assert ask(scripted, "hello") == "kitchen"
    ask(scripted, "hello", "kitchen", "more")
    assert scripted.usage.prompt - scripted.usage.read >= len(letters)
    assert str(letters)[1:-1] in str(model.cache)


def test_another_conversation_keeps_only_what_it_shares(tokenizer):
    model, scripted = backend(tokenizer, "Turn on", "kitchen", "room")
    ask(scripted, "hello there")
    ask(scripted, "hello you")
    shared = [tokenizer.bos, *tokenizer.encode("<start_of_turn>user\nhello")]
    assert scripted.usage.prompt - scripted.usage.read >= len(shared)
    assert model.cache[: len(shared)] == shared
    ask(scripted, "good bye")
    text = render_prompt([{"role": "user", "content": "good bye"}])
    assert model.cache[: scripted.usage.prompt] == [tokenizer.bos, *tokenizer.encode(text)]


def test_says_when_a_prompt_leaves_no_room(tokenizer):
    _, scripted = backend(tokenizer, "x", cache_length=20)
    with pytest.raises(PromptTooLong, match="holds 20"):
        ask(scripted, "a very long question about everything there is")


def test_refuses_a_tokenizer_of_another_vocabulary(tokenizer):
    check_vocabulary("a.tflite", tokenizer.vocabulary_size, "tokenizer.model", tokenizer)
    expected = "a.tflite has a vocabulary of 99 tokens, tokenizer.model one of"
    with pytest.raises(UserError, match=expected):
        check_vocabulary("a.tflite", 99, "tokenizer.model", tokenizer)


@settings(derandomize=True, deadline=None)
@given(text=st.text())
def test_streamed_pieces_are_whole_characters_and_join_to_the_text(tokenizer, text):
    ids = tokenizer.encode(text)
    pieces = list(to_text(ids, tokenizer))
    assert "".join(pieces) == tokenizer.decode(ids)
    if "\ufffd" not in tokenizer.decode(ids):
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_token_without_text_gives_no_piece(tokenizer):
    assert list(to_text([tokenizer.pad, *tokenizer.encode("a"), tokenizer.bos], tokenizer)) == ["a"]


def test_an_emoji_comes_in_one_piece(tokenizer):
    ids = tokenizer.encode("a😀b")
    assert len(ids) >= 6
    assert list(to_text(ids, tokenizer)) == ["a", "😀", "b"]


@settings(derandomize=True, deadline=None)
@given(values=st.lists(st.integers(0, 255), max_size=12))
def test_bytes_that_are_no_character_do_not_hold_the_stream_up(tokenizer, values):
    ids = [tokenizer._processor.PieceToId(f"<0x{value:02X}>") for value in values]
    pieces = list(to_text(iter(ids), tokenizer))
    assert all(pieces)
    assert len(pieces) >= len(ids) / 4
