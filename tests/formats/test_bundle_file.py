import dataclasses
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litert_lm_builder import LitertLmFileBuilder, TfLiteModelType
from litert_lm_builder.runtime.proto import llm_metadata_pb2

from exported import CACHE_LENGTH
from gemma_finetune.formats.bundle_file import LITERTLM_ONLY, BundleFile, _fields
from gemma_finetune.formats.chat_template import AFFIXES
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import sha256

pytestmark = pytest.mark.slow

KINDS = ("task", "litertlm")


@pytest.mark.parametrize("kind", KINDS)
def test_model_and_tokenizer_are_the_files_that_went_in(bundles, parts, kind):
    bundle = BundleFile(bundles[kind])
    contents = bundle.contents()
    assert contents.model_sha256 == sha256(parts.tflite)
    assert contents.tokenizer_sha256 == sha256(parts.tokenizer)
    assert bundle.model().weights() == TFLiteFile(parts.tflite).weights()
    assert bundle.tokenizer().serialized_model_proto() == parts.tokenizer.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_affixes_are_gemma_s(bundles, kind):
    contents = BundleFile(bundles[kind]).contents()
    assert (contents.start_token, contents.stop_tokens) == ("<bos>", ("<eos>", "<end_of_turn>"))
    assert contents.affixes == AFFIXES


def test_both_bundles_hold_the_same(bundles, parts):
    task, litertlm = (BundleFile(bundles[kind]).contents() for kind in KINDS)
    assert (litertlm.chat_template, litertlm.context_length) == (parts.chat_template, CACHE_LENGTH)
    assert (litertlm.model_type, litertlm.activation_type) == ("generic_model", "fp32")
    assert task == dataclasses.replace(litertlm, **dict.fromkeys(LITERTLM_ONLY))


def write_litertlm(path, parts, add_tokenizer, *encoders):
    """A `.litertlm` that a person may get from elsewhere, by LiteRT-LM's own builder."""
    builder = LitertLmFileBuilder()
    add_tokenizer(builder)
    metadata = path.with_suffix(".pb")
    metadata.write_bytes(llm_metadata_pb2.LlmMetadata(max_num_tokens=8).SerializeToString())
    builder.add_llm_metadata(str(metadata))
    builder.add_tflite_model(str(parts.tflite), TfLiteModelType.PREFILL_DECODE)
    for encoder in encoders:
        builder.add_tflite_model(str(parts.tokenizer), encoder)
    with open(path, "wb") as file:
        builder.build(file)


def test_a_model_with_a_tokenizer_of_another_kind_is_told_from_a_damaged_one(parts, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    path = tmp_path / "qwen.litertlm"
    write_litertlm(path, parts, lambda b: b.add_hf_tokenizer(str(tmp_path / "tokenizer.json")))
    with pytest.raises(UserError, match="qwen.litertlm: its tokenizer is a Hugging Face one"):
        BundleFile(path)


def test_the_language_model_is_found_among_the_models_of_a_bundle(parts, tmp_path):
    """A bundle that also sees has an encoder of pictures behind it. Nothing names a precision."""
    path = tmp_path / "sees.litertlm"
    add_tokenizer = lambda b: b.add_sentencepiece_tokenizer(str(parts.tokenizer))  # noqa: E731
    write_litertlm(path, parts, add_tokenizer, TfLiteModelType.VISION_ENCODER)
    contents = BundleFile(path).contents()
    assert contents.model_sha256 == sha256(parts.tflite)
    assert (contents.model_type, contents.activation_type) == (None, "")


@pytest.mark.parametrize("name", ["model.bin", "model"])
def test_a_bundle_is_known_by_its_suffix(bundles, tmp_path, name):
    (tmp_path / name).write_bytes(bundles["litertlm"].read_bytes())
    with pytest.raises(UserError, match=f"{name}: the name of a bundle must end in .task or"):
        BundleFile(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [100, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_refused(bundles, tmp_path, kind, kept):
    content = bundles[kind].read_bytes()
    length = int(kept * len(content)) if isinstance(kept, float) else kept
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(content[:length])
    with pytest.raises(UserError, match="a damaged one"):
        BundleFile(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_kind_of_bundle_under_this_name_is_refused(bundles, tmp_path, kind):
    other = next(k for k in KINDS if k != kind)
    path = tmp_path / f"other.{kind}"
    path.write_bytes(bundles[other].read_bytes())
    with pytest.raises(UserError, match="not a language model's bundle"):
        BundleFile(path)


def test_a_zip_without_a_language_model_is_told_what_it_lacks(tmp_path):
    with zipfile.ZipFile(tmp_path / "vision.task", "w") as archive:
        archive.writestr("image_classifier.tflite", b"TFL3")
    with pytest.raises(UserError, match="it holds no metadata and no model and no tokenizer"):
        BundleFile(tmp_path / "vision.task")


@pytest.mark.parametrize("kind", KINDS)
@settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 1023), byte=st.integers(0, 255), from_end=st.booleans())
def test_a_changed_byte_of_the_headers_is_read_or_refused_but_never_a_crash(
    bundles, tmp_path, kind, place, byte, from_end
):
    content = bytearray(bundles[kind].read_bytes())
    content[-1 - place if from_end else place] = byte
    path = tmp_path / f"changed.{kind}"
    path.write_bytes(content)
    try:
        bundle = BundleFile(path)
        bundle.contents(), bundle.model().cache_length()
    except UserError as error:
        assert str(path) in str(error)


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


@settings(derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300) | st.integers(0, 2**64 - 1))
    )
)
def test_fields_of_a_protobuf_message_come_back(fields):
    message, expected = b"", {}
    for number, value in fields:
        expected.setdefault(number, []).append(value)
        if isinstance(value, int):
            message += varint(number << 3) + varint(value)
        else:
            message += varint(number << 3 | 2) + varint(len(value)) + value
    assert _fields(message) == expected
