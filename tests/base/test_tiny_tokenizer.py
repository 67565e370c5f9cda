"""The tiny base's tokenizer: lossless on printable text; a word is one piece wherever it stands."""

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.base.tiny_tokenizer import train_tokenizer

TEXTS = [
    "paint the kitchen blue",
    'the kitchen is blue {"kind": "paint", "values": {"room": "kitchen"}}',
] * 20


@pytest.fixture(scope="module")
def processor():
    return sentencepiece.SentencePieceProcessor(model_proto=train_tokenizer(TEXTS, 512))


PROCESSOR = sentencepiece.SentencePieceProcessor(model_proto=train_tokenizer(TEXTS, 512))


def test_the_same_texts_give_the_same_bytes():
    assert train_tokenizer(TEXTS, 512) == train_tokenizer(list(TEXTS), 512)


def test_a_word_is_one_piece_in_a_request_and_in_a_record(processor):
    request = processor.encode("paint the kitchen blue", out_type=str)
    record = processor.encode('{"room": "kitchen"}', out_type=str)
    assert "kitchen" in request and "kitchen" in record


def test_json_punctuation_is_one_piece(processor):
    pieces = processor.encode('{"kind": "paint", "values": {"room": "kitchen"}}', out_type=str)
    wanted = '{" kind ":▁" paint ",▁" values ":▁{" room ":▁" kitchen "}}'
    assert pieces == wanted.split()


def test_numbers_are_split_into_digits(processor):
    assert processor.encode("1234", out_type=str) == list("1234")


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\n")))
def test_printable_text_comes_back(text):
    assert PROCESSOR.decode(PROCESSOR.encode(text)) == text
