"""What is inside a `.task` or a `.litertlm`: its parts, and what its metadata tells the runtime.

- A `.task` is a zip of stored entries. Its METADATA is MediaPipe's `LlmParameters` message.
- A `.litertlm` is a FlatBuffers header and sections. One section is LiteRT-LM's `LlmMetadata`.

The file is mapped, not loaded.
"""

import hashlib
import io
import mmap
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from litert_lm_builder import litertlm_header_schema_py_generated as schema
from litert_lm_builder import litertlm_peek
from litert_lm_builder.runtime.proto import llm_metadata_pb2
from sentencepiece import SentencePieceProcessor

from gemma_finetune.formats.foreign import AGAIN, foreign
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.errors import UserError

_TASK_ENTRIES = {
    "TF_LITE_PREFILL_DECODE": "model",
    "TOKENIZER_MODEL": "tokenizer",
    "METADATA": "metadata",
}
_LITERTLM_SECTIONS = {
    schema.AnySectionDataType.TFLiteModel: "model",
    schema.AnySectionDataType.SP_Tokenizer: "tokenizer",
    schema.AnySectionDataType.HF_Tokenizer_Zlib: "other_tokenizer",  # of other models than Gemma 3
    schema.AnySectionDataType.LlmMetadataProto: "metadata",
}
_LANGUAGE_MODEL = "tf_lite_prefill_decode"  # other models of a bundle encode pictures or sound
# Field numbers of odml.infra.proto.LlmParameters; mediapipe ships no Python class for it.
_STOP_TOKENS, _START_TOKEN, _PROMPT_TEMPLATES = 5, 6, 17
_TEMPLATE_ROLES = {1: "user", 2: "model"}
_PREFIX, _SUFFIX = 2, 3

Affixes = dict[str, tuple[str, str]]  # {"user": (prefix, suffix), "model": (prefix, suffix)}
Ranges = dict[str, tuple[int, int]]  # {part: (first byte, byte after the last)}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a bundle holds. Tokens are pieces of the tokenizer.

    model_type: LiteRT-LM's name for how conversations with the model are handled.
    activation_type: the precision that a GPU is asked to compute in; empty: its default, float16.
    """

    model_sha256: str
    tokenizer_sha256: str
    start_token: str
    stop_tokens: tuple[str, ...]
    affixes: Affixes
    chat_template: str | None
    context_length: int | None
    model_type: str | None
    activation_type: str | None


# A `.task` has no place for these: they are None.
LITERTLM_ONLY = ("chat_template", "context_length", "model_type", "activation_type")


class BundleFile:
    """An opened bundle. UserError if it is another kind of file, damaged or cut short."""

    def __init__(self, path: str | Path):
        self.path = path
        self._parts = _read_parts(path)

    def model(self) -> TFLiteFile:
        """The model inside, as the `.tflite` that went in."""
        return TFLiteFile(self.path, self._parts["model"])

    def tokenizer(self) -> SentencePieceProcessor:
        """The tokenizer inside."""
        try:
            return SentencePieceProcessor(model_proto=bytes(self._parts["tokenizer"]))
        except (RuntimeError, ValueError) as error:  # ValueError: its message is not valid UTF-8
            raise _not_a_bundle(self.path, f"tokenizer: {error}")

    def contents(self) -> Contents:
        """Everything by which two bundles can be compared. Hashes the whole model."""
        tokenizer = self.tokenizer()
        content = bytes(self._parts["metadata"])
        try:
            if Path(self.path).suffix == ".task":
                metadata = _task_metadata(content)
            else:
                metadata = _litertlm_metadata(content, tokenizer)
                metadata["activation_type"] = _activation_type(self.path)
        except Exception as error:  # damaged metadata makes the readers raise all kinds of errors
            raise _not_a_bundle(self.path, f"metadata: {type(error).__name__}: {error}")
        return Contents(
            model_sha256=hashlib.sha256(self._parts["model"]).hexdigest(),
            tokenizer_sha256=hashlib.sha256(self._parts["tokenizer"]).hexdigest(),
            **metadata,
        )


def _read_parts(path: str | Path) -> dict[str, memoryview]:
    """{"model", "tokenizer", "metadata"}: the bytes of each."""
    if Path(path).suffix not in (".task", ".litertlm"):
        raise UserError(f"{path}: the name of a bundle must end in .task or .litertlm; rename it")
    try:
        with open(path, "rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            ranges = _task_ranges(file) if Path(path).suffix == ".task" else _litertlm_ranges(path)
    except zipfile.BadZipFile:
        raise _not_a_bundle(path, "its end is missing")
    except Exception as error:  # a damaged file makes the readers raise all kinds of errors
        raise _not_a_bundle(path, f"{type(error).__name__}: {error}")

    missing = set(_TASK_ENTRIES.values()) - set(ranges)
    if "other_tokenizer" in ranges and "tokenizer" in missing:
        raise UserError(
            f"{path}: its tokenizer is a Hugging Face one, so this is another model than Gemma 3; "
            "`litert-lm run` can run it"
        )
    if missing:
        raise _not_a_bundle(path, f"it holds no {' and no '.join(sorted(missing))}")
    length = max(end for _, end in ranges.values())
    if length > len(content):
        raise _not_a_bundle(path, f"it should have {length} bytes and has {len(content)}")
    return {name: content[start:end] for name, (start, end) in ranges.items()}


def _not_a_bundle(path: str | Path, reason: str) -> UserError:
    found = foreign(path)
    if found:
        return UserError(f"{path}: not a language model's bundle but {found}")
    return UserError(f"{path}: not a language model's bundle, or a damaged one ({reason}); {AGAIN}")


def _task_ranges(file: BinaryIO) -> Ranges:
    """Where the parts of a `.task` are. ValueError for a compressed entry."""
    ranges = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            part = _TASK_ENTRIES.get(entry.filename)
            if part is None:
                continue
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            with archive.open(entry):
                start = file.tell()  # behind the entry's local header, which zipfile has just read
            ranges[part] = (start, start + entry.file_size)
    return ranges


def _litertlm_ranges(path: str | Path) -> Ranges:
    """Where the parts of a `.litertlm` are."""
    ranges = {}
    for section in _sections(path):
        part = _LITERTLM_SECTIONS.get(section.DataType())
        if part is not None and litertlm_peek.get_model_type(section) in (None, _LANGUAGE_MODEL):
            ranges[part] = (section.BeginOffset(), section.EndOffset())
    return ranges


def _sections(path: str | Path) -> list[schema.SectionObject]:
    """The sections that the header of a `.litertlm` lists."""
    table = litertlm_peek.read_litertlm_header(str(path), io.StringIO()).SectionMetadata()
    return [table.Objects(index) for index in range(table.ObjectsLength())]


def _activation_type(path: str | Path) -> str:
    """`prefer_activation_type` of a `.litertlm`'s model, or empty."""
    for section in _sections(path):
        if section.DataType() == schema.AnySectionDataType.TFLiteModel:
            for index in range(section.ItemsLength()):
                item = litertlm_peek.kvp_to_dict(section.Items(index))
                if item["key"] == "prefer_activation_type":
                    return item["value"]
    return ""


def _litertlm_metadata(content: bytes, tokenizer: SentencePieceProcessor) -> dict[str, Any]:
    message = llm_metadata_pb2.LlmMetadata.FromString(content)
    start_token = [tokenizer.IdToPiece(i) for i in message.start_token.token_ids.ids]
    stop_tokens = [
        tokenizer.IdToPiece(i) for stop in message.stop_tokens for i in stop.token_ids.ids
    ]
    user, model = message.prompt_templates.user, message.prompt_templates.model
    return {
        "start_token": "".join(start_token),
        "stop_tokens": tuple(stop_tokens),
        "affixes": {"user": (user.prefix, user.suffix), "model": (model.prefix, model.suffix)},
        "chat_template": message.jinja_prompt_template,
        "context_length": message.max_num_tokens,
        "model_type": message.llm_model_type.WhichOneof("model_type"),
    }


def _task_metadata(content: bytes) -> dict[str, Any]:
    message = _fields(content)
    templates = _fields(message[_PROMPT_TEMPLATES][0])
    affixes = {}
    for number, role in _TEMPLATE_ROLES.items():
        template = _fields(templates[number][0])
        affixes[role] = (template[_PREFIX][0].decode(), template[_SUFFIX][0].decode())
    return {
        "start_token": message[_START_TOKEN][0].decode(),
        "stop_tokens": tuple(token.decode() for token in message[_STOP_TOKENS]),
        "affixes": affixes,
        **dict.fromkeys(LITERTLM_ONLY),
    }


def _fields(message: bytes) -> dict[int, list[Any]]:
    """{field number: values} of a protobuf message.

    Values are bytes (of strings and messages) and ints (of varints).
    """
    fields: dict[int, list[Any]] = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        value: Any
        value, position = _varint(message, position)
        if wire_type == 2:  # length-delimited: the varint was the length
            value, position = message[position : position + value], position + value
        elif wire_type != 0:
            raise ValueError(f"field {number} has wire type {wire_type}")
        fields.setdefault(number, []).append(value)
    return fields


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number that starts at `position`, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):  # ten bytes hold 64 bits
        byte = message[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
    raise ValueError("a number of more than 64 bits")
