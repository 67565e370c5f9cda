"""One model, two containers: MediaPipe's `.task` and LiteRT-LM's `.litertlm`, from the same parts.

Neither bundler checks a token, so tokens are looked up in the tokenizer here, and each file is opened again after
writing and compared with what went in. The same parts give the same bytes: what the bundlers stamp with the time
and with random numbers is fixed.

A `.litertlm` carries the chat template, and LiteRT-LM renders every turn as in training. A `.task` has room for a
prefix and a suffix of each role only. LiteRT-LM makes a template of them, which differs in three ways no prefix mends:
from the second turn on the line break after the model's `<end_of_turn>` is missing, spaces around a message stay, and
a system text stands before the first `<start_of_turn>` (an app should put it into the first message). Our own chat
gives the runtime the template instead (inference/bundle_inference.py).
"""

import sys
import uuid
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from gemma_finetune.config import BOS, END_OF_TURN, EOS
from gemma_finetune.export.bundle_file import BundleFile, Contents
from gemma_finetune.export.chat_template import AFFIXES
from gemma_finetune.export.tflite_file import TFLiteFile
from gemma_finetune.models.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import aside, sha256

# What the zip module asks for the date of an entry: the earliest there is, whatever the clock says.
_CLOCK = SimpleNamespace(time=lambda: 0, localtime=lambda _: (1980, 1, 1, 0, 0, 0))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a bundle is made of. `chat_template`: Jinja, for a `.litertlm`. `notice`: of the licence, or empty."""

    tflite: Path
    tokenizer: Path
    chat_template: str
    notice: str = ""


def create_mediapipe_task(parts: Parts, path: str | Path) -> None:
    """Writes a `.task` for MediaPipe's LLM Inference. UserError if the parts don't belong together."""
    contents = replace(expected_contents(parts), chat_template=None, context_length=None)
    with aside(path) as temporary:
        _mediapipe_bundle(parts, contents, temporary)
        check_contents(path, contents, BundleFile(temporary).contents())


def create_litertlm(parts: Parts, path: str | Path) -> None:
    """Writes a `.litertlm` for LiteRT-LM. UserError if the parts don't belong together."""
    contents = expected_contents(parts)
    with aside(path) as temporary:
        metadata = temporary.with_name("metadata.pb")
        metadata.write_bytes(_llm_metadata(contents, GemmaTokenizer(parts.tokenizer)))
        _litertlm_bundle(parts, contents, metadata, temporary)
        check_contents(path, contents, BundleFile(temporary).contents())


def expected_contents(parts: Parts) -> Contents:
    """What a bundle of these parts must hold. UserError for another model's tokenizer, or a template with <bos>."""
    tokenizer, model = GemmaTokenizer(parts.tokenizer), TFLiteFile(parts.tflite)
    if BOS in parts.chat_template or "bos_token" in parts.chat_template:
        raise UserError(f"the chat template holds {BOS}, which the runtime puts in front itself; take it out")
    rows = next(weight.shape[0] for weight in model.weights() if weight.name == "embedding")
    if tokenizer.vocabulary_size != rows:
        raise UserError(
            f"{parts.tokenizer}: has {tokenizer.vocabulary_size} pieces and {parts.tflite} {rows} embeddings: "
            "the tokenizer is another model's; run `dvc repro merge`"
        )
    return Contents(
        model_sha256=sha256(parts.tflite),
        tokenizer_sha256=sha256(parts.tokenizer),
        start_token=BOS,
        stop_tokens=(EOS, END_OF_TURN),
        affixes=AFFIXES,
        chat_template=parts.chat_template,
        context_length=model.cache_length(),
    )


def check_contents(path: str | Path, expected: Contents, found: Contents) -> None:
    """UserError that names every field of a written bundle that is not what went in."""
    wanted, got = asdict(expected), asdict(found)
    wrong = [f"{name}: put in {wanted[name]!r}, found {got[name]!r}" for name in wanted if wanted[name] != got[name]]
    if wrong:
        raise UserError(f"{path}: the bundler wrote something else than it was given:\n  " + "\n  ".join(wrong))


def _mediapipe_bundle(parts, contents, path):
    # Here mediapipe would import TensorFlow for a decorator of its documentation: 4 s of the 7 s that it takes.
    masked = sys.modules.setdefault("tensorflow", None) is None
    try:
        from mediapipe.tasks.python.genai import bundler
    finally:
        if masked:
            del sys.modules["tensorflow"]
    affixes = {
        f"prompt_{kind}_{role}": text
        for role, both in contents.affixes.items()
        for kind, text in zip(("prefix", "suffix"), both, strict=True)
    }
    config = bundler.BundleConfig(
        tflite_model=str(parts.tflite),
        tokenizer_model=str(parts.tokenizer),
        start_token=contents.start_token,
        stop_tokens=list(contents.stop_tokens),
        output_filename=str(path),
        **affixes,
    )
    with mock.patch.object(zipfile, "time", _CLOCK):
        bundler.create_bundle(config)


def _llm_metadata(contents: Contents, tokenizer: GemmaTokenizer) -> bytes:
    from litert_lm_builder.runtime.proto import llm_metadata_pb2, sampler_params_pb2

    message = llm_metadata_pb2.LlmMetadata(max_num_tokens=contents.context_length)
    message.start_token.token_ids.ids.append(tokenizer.bos)
    for token_id in tokenizer.stop_ids:
        message.stop_tokens.add().token_ids.ids.append(token_id)
    for role, (prefix, suffix) in contents.affixes.items():
        template = getattr(message.prompt_templates, role)
        template.prefix, template.suffix = prefix, suffix
    message.jinja_prompt_template = contents.chat_template
    message.llm_model_type.gemma3.SetInParent()
    # Greedy. LiteRT-LM's CPU sampler refuses the types GREEDY and TOP_K when it decodes; this it takes.
    sampler = message.sampler_params
    sampler.type, sampler.k, sampler.p, sampler.temperature = sampler_params_pb2.SamplerParameters.TOP_P, 1, 1.0, 1.0
    return message.SerializeToString(deterministic=True)


def _litertlm_bundle(parts, contents, metadata, path):
    from litert_lm_builder import DType, LitertLmFileBuilder, Metadata, TfLiteModelType, litertlm_builder

    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{contents.model_sha256} {contents.tokenizer_sha256}")
    builder = LitertLmFileBuilder()
    builder.add_system_metadata(Metadata(key="uuid", value=str(identity), dtype=DType.STRING))
    if parts.notice:
        builder.add_system_metadata(Metadata(key="License", value=parts.notice, dtype=DType.STRING))
    builder.add_llm_metadata(str(metadata))
    builder.add_sentencepiece_tokenizer(str(parts.tokenizer))
    builder.add_tflite_model(str(parts.tflite), TfLiteModelType.PREFILL_DECODE)
    # The builder would put a random uuid and the time of day in the place of ours.
    with mock.patch.object(litertlm_builder, "populate_system_metadata", lambda metadata: metadata):
        with open(path, "wb") as file:
            builder.build(file)
