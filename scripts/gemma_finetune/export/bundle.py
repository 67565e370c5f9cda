"""One model, two containers: MediaPipe's `.task` and LiteRT-LM's `.litertlm`, from the same parts.

Neither bundler checks a token. So tokens are looked up in the tokenizer here, and each file is read
back after writing and compared with what went in. The same parts always give the same bytes: the
times and random numbers that the bundlers write are overwritten.

A `.litertlm` carries the chat template, and LiteRT-LM renders every turn as in training. A `.task`
has room for a prefix and a suffix of each role only. LiteRT-LM makes a template of them, which
differs from training in three ways that no prefix can mend: from the second turn on, the line break
after the model's `<end_of_turn>` is missing; spaces around a message stay; and a system text stands
before the first `<start_of_turn>` (an app should put it into the first message). Our own chat gives
the runtime the template instead (inference/bundle_inference.py).
"""

import contextlib
import hashlib
import io
import re
import struct
import uuid
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import sentencepiece

from gemma_finetune.config import BOS
from gemma_finetune.formats.bundle_file import LITERTLM_ONLY, BundleFile, Contents
from gemma_finetune.formats.chat_template import AFFIXES
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, sha256
from gemma_finetune.utils.imports import stand_ins, without_tensorflow

# DOS's time and date of 1980-01-01 00:00, the earliest that a zip entry can have.
FIXED_ZIP_DATE = struct.pack("<HH", 0, (1 << 5) | 1)
FIXED_TIME = b"1970-01-01T00:00:00.000000+00:00"
LITERTLM_HEADER = 16 << 10  # bytes; the first section begins after them
# GPUs compute in float16 unless the model asks for this. Gemma 3's activations overflow in float16:
# bundles of the 270M without it wrote endless <pad> on phones (LiteRT-LM issue 3280).
ACTIVATION_TYPE = "fp32"
FUNCTION_GEMMA = "function_gemma"
# Of the pieces of Gemma 3's vocabulary, in the order of their ids, joined by NUL characters.
GEMMA_3_VOCABULARY = "bb81d0e362725b5d61f4ef5c99dbbacb8192f335ebcda8198dc8ccad1613eba0"
_UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_TIME = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a bundle is made of.

    `chat_template`: Jinja, for a `.litertlm`. `notice`: of the licence, or empty. A `.litertlm` has
    it in its header, a `.task` as the entry NOTICE.
    """

    tflite: Path
    tokenizer: Path
    chat_template: str
    notice: str = ""


def create_mediapipe_task(parts: Parts, path: str | Path, contents: Contents | None = None) -> None:
    """Writes a `.task` for MediaPipe's LLM Inference.

    `contents`: `expected_contents(parts)`, if the caller has it already, because that hashes the
    whole model. UserError if the parts don't belong together.
    """
    contents = contents or expected_contents(parts)
    no_place: dict[str, Any] = dict.fromkeys(LITERTLM_ONLY)
    contents = replace(contents, **no_place)
    with aside(path) as temporary:
        _mediapipe_bundle(parts, contents, temporary)
        check_contents(path, contents, BundleFile(temporary).contents())


def create_litertlm(parts: Parts, path: str | Path, contents: Contents | None = None) -> None:
    """Writes a `.litertlm` for LiteRT-LM. `contents` and errors as in `create_mediapipe_task`."""
    contents = contents or expected_contents(parts)
    with aside(path) as temporary:
        metadata = temporary.with_name("metadata.pb")
        metadata.write_bytes(_llm_metadata(contents, GemmaTokenizer(parts.tokenizer)))
        _litertlm_bundle(parts, contents, metadata, temporary)
        check_contents(path, contents, BundleFile(temporary).contents())


def expected_contents(parts: Parts) -> Contents:
    """What a bundle of these parts must hold.

    UserError if the tokenizer is another model's, or if the template adds a <bos>.
    """
    tokenizer, model = GemmaTokenizer(parts.tokenizer), TFLiteFile(parts.tflite)
    if BOS in parts.chat_template or "bos_token" in parts.chat_template:
        raise UserError(
            f"the chat template holds {BOS}, which the runtime puts in front itself; take it out"
        )
    rows = next(weight.shape[0] for weight in model.weights() if weight.name == "embedding")
    if tokenizer.vocabulary_size != rows:
        raise UserError(
            f"{parts.tokenizer}: has {tokenizer.vocabulary_size} pieces and {parts.tflite} "
            f"{rows} embeddings: the tokenizer is another model's; run `dvc repro merge`"
        )
    return Contents(
        model_sha256=sha256(parts.tflite),
        tokenizer_sha256=sha256(parts.tokenizer),
        start_token=BOS,
        stop_tokens=tokenizer.stop_pieces(),
        affixes=AFFIXES,
        chat_template=parts.chat_template,
        context_length=model.cache_length(),
        model_type=model_type(tokenizer),
        activation_type=ACTIVATION_TYPE,
    )


def model_type(tokenizer: GemmaTokenizer) -> str:
    """Which of LiteRT-LM's model types a `.litertlm` names: a field of its `LlmModelType`.

    `litert-lm serve` lets every conversation constrain what is decoded. A model of type `gemma3`
    can do that with Gemma 3's own vocabulary only, down to its last unused piece, and answers
    nothing with another one. `generic_model` can do it with any vocabulary. `function_gemma` makes
    structures of the calls in an answer.
    """
    if tokenizer.has_functions:
        return FUNCTION_GEMMA
    vocabulary = "\0".join(tokenizer.pieces()).encode()
    is_gemma_3 = hashlib.sha256(vocabulary).hexdigest() == GEMMA_3_VOCABULARY
    return "gemma3" if is_gemma_3 else "generic_model"


def check_contents(path: str | Path, expected: Contents, found: Contents) -> None:
    """UserError that names every field of a written bundle that differs from what went in."""
    wanted, got = asdict(expected), asdict(found)
    wrong = [
        f"{name}: put in {value!r}, found {got[name]!r}"
        for name, value in wanted.items()
        if value != got[name]
    ]
    if wrong:
        raise UserError(
            f"{path}: the bundler wrote something else than it was given:\n  " + "\n  ".join(wrong)
        )


def _mediapipe_bundle(parts: Parts, contents: Contents, path: Path) -> None:
    bundler = _import_bundler()
    affixes = {}
    for role, (prefix, suffix) in contents.affixes.items():
        affixes[f"prompt_prefix_{role}"] = prefix
        affixes[f"prompt_suffix_{role}"] = suffix
    config = bundler.BundleConfig(
        tflite_model=str(parts.tflite),
        tokenizer_model=str(parts.tokenizer),
        start_token=contents.start_token,
        stop_tokens=list(contents.stop_tokens),
        output_filename=str(path),
        **affixes,
    )
    bundler.create_bundle(config)
    if parts.notice:  # the metadata has no field for it; runtimes read the entries they know
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("NOTICE", parts.notice)
    fix_zip_dates(path)


def _import_bundler() -> Any:
    """mediapipe's bundler, without its converter of other models: 4 s, JAX and torch.

    The bundler needs only `external_dependencies.sentencepiece` from it.
    """
    converter = ModuleType("converter")
    vars(converter)["external_dependencies"] = SimpleNamespace(sentencepiece=sentencepiece)
    parts = {"mediapipe.tasks.python.genai.converter": converter}
    with without_tensorflow(), stand_ins(parts):
        from mediapipe.tasks.python.genai import bundler
    return bundler


def fix_zip_dates(path: str | Path) -> None:
    """Sets the date of every entry of a zip file to FIXED_ZIP_DATE, in place.

    Each entry has two headers with a date: a local one before its data, and one in the central
    directory at the end of the file. Nothing else changes, and nothing moves.
    """
    with zipfile.ZipFile(path) as archive:
        local_headers = [entry.header_offset for entry in archive.infolist()]
        central_header = archive.start_dir
    with open(path, "r+b") as file:
        for local_header in local_headers:
            file.seek(local_header + 10)
            file.write(FIXED_ZIP_DATE)

            file.seek(central_header + 12)
            file.write(FIXED_ZIP_DATE)
            file.seek(central_header + 28)
            name, extra, comment = struct.unpack("<HHH", file.read(6))  # lengths
            central_header += 46 + name + extra + comment


def _llm_metadata(contents: Contents, tokenizer: GemmaTokenizer) -> bytes:
    """LiteRT-LM's `LlmMetadata` message."""
    from litert_lm_builder.runtime.proto import llm_metadata_pb2, sampler_params_pb2

    message = llm_metadata_pb2.LlmMetadata(max_num_tokens=contents.context_length)
    message.start_token.token_ids.ids.append(tokenizer.bos)
    for token_id in tokenizer.stop_ids:
        message.stop_tokens.add().token_ids.ids.append(token_id)
    for role, (prefix, suffix) in contents.affixes.items():
        template = getattr(message.prompt_templates, role)
        template.prefix, template.suffix = prefix, suffix
    message.jinja_prompt_template = contents.chat_template
    kind = getattr(message.llm_model_type, str(contents.model_type))
    kind.SetInParent()
    if contents.model_type == FUNCTION_GEMMA:
        # Functions and values reach the template as they are; else the runtime writes them itself,
        # in the order in which an app has their keys.
        kind.use_template_for_fc_format = True

    # Greedy. LiteRT-LM's CPU sampler refuses the types GREEDY and TOP_K while decoding.
    sampler = message.sampler_params
    sampler.type = sampler_params_pb2.SamplerParameters.TOP_P
    sampler.k = 1
    sampler.p = 1.0
    sampler.temperature = 1.0
    return message.SerializeToString(deterministic=True)


def _litertlm_bundle(parts: Parts, contents: Contents, metadata: Path, path: Path) -> None:
    from litert_lm_builder import DType, LitertLmFileBuilder, Metadata, TfLiteModelType

    builder = LitertLmFileBuilder()
    if parts.notice:
        builder.add_system_metadata(Metadata(key="License", value=parts.notice, dtype=DType.STRING))
    builder.add_llm_metadata(str(metadata))
    builder.add_sentencepiece_tokenizer(str(parts.tokenizer))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the activation type
        builder.add_tflite_model(
            str(parts.tflite),
            TfLiteModelType.PREFILL_DECODE,
            prefer_activation_type=contents.activation_type,
        )

    digests = f"{contents.model_sha256} {contents.tokenizer_sha256}"
    identity = uuid.uuid5(uuid.NAMESPACE_OID, digests)
    # One build in a million falls on a time with 0 microseconds, which is written without them.
    for _ in range(3):
        with open(path, "wb") as file:
            builder.build(file)
        if fix_litertlm_stamps(path, identity):
            return
    raise RuntimeError(f"{path}: its header has no uuid and time as litert-lm-builder writes them")


def fix_litertlm_stamps(path: str | Path, identity: uuid.UUID) -> bool:
    """Overwrites the random uuid and the time in a `.litertlm`'s header, in place.

    `identity` and FIXED_TIME take their places. Returns False, and writes nothing, if the header
    does not have them.
    """
    with open(path, "r+b") as file:
        header = file.read(LITERTLM_HEADER)
        random_uuid, time = re.search(_UUID, header), re.search(_TIME, header)
        if random_uuid is None or time is None:
            return False
        file.seek(random_uuid.start())
        file.write(str(identity).encode())
        file.seek(time.start())
        file.write(FIXED_TIME)
    return True
