"""What is inside a `.task` or a `.litertlm`: its parts as bytes, and what its metadata tells the
runtime.

A `.task` is a zip of stored entries whose METADATA is MediaPipe's `LlmParameters` message; a
`.litertlm` is a FlatBuffers header and sections, one of them LiteRT-LM's `LlmMetadata`. The file is
mapped, not loaded.
"""

import hashlib
import io
import mmap
import zipfile
from dataclasses import dataclass
from pathlib import Path

from litert_lm_builder import litertlm_header_schema_py_generated as schema
from litert_lm_builder import litertlm_peek
from litert_lm_builder.runtime.proto import llm_metadata_pb2
from sentencepiece import SentencePieceProcessor

from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.cli import UserError

_TASK_ENTRIES = {
    "TF_LITE_PREFILL_DECODE": "model",
    "TOKENIZER_MODEL": "tokenizer",
    "METADATA": "metadata",
}
_LITERTLM_SECTIONS = {
    schema.AnySectionDataType.TFLiteModel: "model",
    schema.AnySectionDataType.SP_Tokenizer: "tokenizer",
    schema.AnySectionDataType.LlmMetadataProto: "metadata",
}
# Field numbers of odml.infra.proto.LlmParameters; mediapipe ships no Python class for it.
_STOP_TOKENS, _START_TOKEN, _PROMPT_TEMPLATES = 5, 6, 17
_TEMPLATE_ROLES = {1: "user", 2: "model"}
_PREFIX, _SUFFIX = 2, 3

Affixes = dict[str, tuple[str, str]]  # {"user": (prefix, suffix), "model": (prefix, suffix)}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a bundle holds. Tokens are pieces of the tokenizer; a `.task` has no field for the last
    two.
    """

    model_sha256: str
    tokenizer_sha256: str
    start_token: str
    stop_tokens: tuple[str, ...]
    affixes: Affixes
    chat_template: str | None
    context_length: int | None


class BundleFile:
    """An opened bundle. UserError if the file is none, or is damaged or cut short."""

    def __init__(self, path: str | Path):
        self.path = path
        self._parts = _read_parts(path)

    def model(self) -> TFLiteFile:
        """The model inside, as the `.tflite` that went in."""
        return TFLiteFile(self.path, self._parts["model"])

    def tokenizer(self) -> SentencePieceProcessor:
        try:
            return SentencePieceProcessor(model_proto=bytes(self._parts["tokenizer"]))
        except (RuntimeError, ValueError) as error:  # its messages may be no text either
            raise _not_a_bundle(self.path, f"tokenizer: {error}")

    def contents(self) -> Contents:
        """All that two bundles can be compared by."""
        read_metadata = _task_metadata if Path(self.path).suffix == ".task" else _litertlm_metadata
        tokenizer = self.tokenizer()
        try:
            metadata = read_metadata(bytes(self._parts["metadata"]), tokenizer)
        except Exception as error:
            raise _not_a_bundle(self.path, f"metadata: {type(error).__name__}: {error}")
        model, tokens = (
            hashlib.sha256(self._parts[name]).hexdigest() for name in ("model", "tokenizer")
        )
        return Contents(model_sha256=model, tokenizer_sha256=tokens, **metadata)


def _read_parts(path) -> dict[str, memoryview]:
    """{"model", "tokenizer", "metadata"}: the bytes of each."""
    try:
        with open(path, "rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            places = _task_places(file) if Path(path).suffix == ".task" else _litertlm_places(path)
    except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
        raise _not_a_bundle(path, f"{type(error).__name__}: {error}")
    if missing := set(_TASK_ENTRIES.values()) - set(places):
        raise _not_a_bundle(path, f"it holds no {' and no '.join(sorted(missing))}")
    if (end := max(end for _, end in places.values())) > len(content):
        raise _not_a_bundle(path, f"it should have {end} bytes and has {len(content)}")
    return {name: content[start:end] for name, (start, end) in places.items()}


def _not_a_bundle(path, reason):
    return UserError(
        f"{path}: no language model's bundle, or a damaged one ({reason}); run the stage that makes it again"
    )


def _task_places(file):
    """{part: (start, end)}; entries are stored, not compressed, and a local header ends with its
    data.
    """
    places = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if part := _TASK_ENTRIES.get(entry.filename):
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} is compressed")
                with archive.open(entry):
                    start = file.tell()  # zipfile has read the local header
                places[part] = (start, start + entry.file_size)
    return places


def _litertlm_places(path):
    table = litertlm_peek.read_litertlm_header(str(path), io.StringIO()).SectionMetadata()
    sections = [table.Objects(i) for i in range(table.ObjectsLength())]
    known = [s for s in sections if s.DataType() in _LITERTLM_SECTIONS]
    return {_LITERTLM_SECTIONS[s.DataType()]: (s.BeginOffset(), s.EndOffset()) for s in known}


def _litertlm_metadata(content: bytes, pieces: SentencePieceProcessor) -> dict:
    message = llm_metadata_pb2.LlmMetadata.FromString(content)
    stops = [pieces.IdToPiece(i) for token in message.stop_tokens for i in token.token_ids.ids]
    templates = {"user": message.prompt_templates.user, "model": message.prompt_templates.model}
    return {
        "start_token": "".join(pieces.IdToPiece(i) for i in message.start_token.token_ids.ids),
        "stop_tokens": tuple(stops),
        "affixes": {role: (t.prefix, t.suffix) for role, t in templates.items()},
        "chat_template": message.jinja_prompt_template,
        "context_length": message.max_num_tokens,
    }


def _task_metadata(content: bytes, _) -> dict:
    message = _fields(content)
    templates = {
        number: _fields(value[0])
        for number, value in _fields(message[_PROMPT_TEMPLATES][0]).items()
    }
    return {
        "start_token": message[_START_TOKEN][0].decode(),
        "stop_tokens": tuple(token.decode() for token in message[_STOP_TOKENS]),
        "affixes": {
            role: (templates[number][_PREFIX][0].decode(), templates[number][_SUFFIX][0].decode())
            for number, role in _TEMPLATE_ROLES.items()
        },
        "chat_template": None,
        "context_length": None,
    }


def _fields(message: bytes) -> dict[int, list]:
    """{field number: values} of a protobuf message: bytes of strings and messages, ints of
    varints.
    """
    fields, position = {}, 0
    while position < len(message):
        tag, position = _varint(message, position)
        value, position = _varint(message, position)
        if tag & 7 == 2:  # length-delimited: what was read is the length
            value, position = message[position : position + value], position + value
        elif tag & 7 != 0:
            raise ValueError(f"field {tag >> 3} has wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(message, position):
    value = 0
    for shift in range(0, 70, 7):  # ten bytes hold 64 bits
        byte = message[position]
        value, position = value | (byte & 127) << shift, position + 1
        if byte < 128:
            return value, position
    raise ValueError("a number of more than 64 bits")
