import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.export.bundle import AFFIXES
from gemma_finetune.export.bundle_file import _fields, read_bundle, read_parts
from gemma_finetune.utils.cli import UserError

KINDS = ("task", "litertlm")


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_the_files_that_went_in(bundles, parts, kind):
    found = read_parts(bundles[kind])
    assert bytes(found["model"]) == parts.tflite.read_bytes()
    assert bytes(found["tokenizer"]) == parts.tokenizer.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_affixes_are_gemma_s(bundles, kind):
    contents = read_bundle(bundles[kind])
    assert (contents.start_token, contents.stop_tokens) == ("<bos>", ("<eos>", "<end_of_turn>"))
    assert contents.affixes == AFFIXES


def test_both_bundles_hold_the_same(bundles, parts):
    task, litertlm = (read_bundle(bundles[kind]) for kind in KINDS)
    assert (litertlm.chat_template, litertlm.context_length) == (parts.chat_template, 96)
    assert task == dataclasses.replace(litertlm, chat_template=None, context_length=None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_refused(bundles, tmp_path, kind, kept):
    content = bundles[kind].read_bytes()
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match="cut short"):
        read_bundle(path)


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300) | st.integers(0, 2**64 - 1))))
def test_fields_of_a_protobuf_message_come_back(fields):
    message, expected = b"", {}
    for number, value in fields:
        expected.setdefault(number, []).append(value)
        if isinstance(value, int):
            message += varint(number << 3) + varint(value)
        else:
            message += varint(number << 3 | 2) + varint(len(value)) + value
    assert _fields(message) == expected
