"""The smallest sound file of every kind that we read, to be damaged: a few hundred bytes to a few
thousand.
"""

import io
import json
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from safetensors.numpy import save

from gemma_finetune.export.bundle import _llm_metadata
from gemma_finetune.formats.bundle_file import Contents
from gemma_finetune.formats.chat_template import AFFIXES
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from imports import ROOT

MODULE = "model.layers.0.self_attn.q_proj"
WEIGHTS = {
    f"{MODULE}.lora_A": np.ones((1, 4), "float32"),
    f"{MODULE}.lora_B": np.ones((6, 1), "float32"),
}
LORA = {"rank": 1, "alpha": 2.0, "use_rslora": False, "dropout": 0.0, "targets": ["q_proj"]}
LORA |= {"quantization_aware": False}
PEFT = {"peft_type": "LORA", "r": 1, "lora_alpha": 2.0, "target_modules": ["q_proj"]}
CONFIG = {"model_type": "gemma3_text", "hidden_size": 4, "vocab_size": 320}


def all_kinds(folder: Path, tokenizer: Path) -> dict[str, bytes]:
    """A sound file for each of `readers.READERS`."""
    return {
        "lora.npz": npz(),
        "model.task": task(tokenizer),
        "model.litertlm": litertlm(folder, tokenizer),
        "model.tflite": tflite(),
        "peft": b"\n".join(peft()),
        "weights": peft()[1],
        "tokenizer.model": tokenizer.read_bytes(),
        "params.yaml": f"lora: {json.dumps(LORA)}\n".encode(),
        "recipe.json": (ROOT / "scripts/recipes/int8.json").read_bytes(),
        "rows.jsonl": b'{"text": "a"}\n',
    }


def npz(**changes) -> bytes:
    """`lora.npz`, with other or more entries."""
    metadata = json.dumps({"format_version": 3, "base_sha256": "0" * 64, **LORA})
    file = io.BytesIO()
    np.savez(file, **({"metadata": metadata, **WEIGHTS} | changes))
    return file.getvalue()


def peft() -> tuple[bytes, bytes]:
    """adapter_config.json and adapter_model.safetensors."""
    return json.dumps(PEFT).encode(), save(
        {f"base_model.model.{name}.weight": w for name, w in WEIGHTS.items()}
    )


def tflite() -> bytes:
    """A model with the signature `decode`, a mask of 16 positions, 8 logits, and an embedding."""
    subgraph = schema.SubGraphT()
    tensors = [("mask", [1, 1, 1, 16], 0), ("logits", [1, 1, 8], 0), ("weights", [8, 4], 1)]
    subgraph.tensors = [_tensor(*tensor) for tensor in tensors]
    subgraph.inputs, subgraph.outputs = [0], [1]
    lookup = schema.OperatorT()
    lookup.opcodeIndex, lookup.inputs, lookup.outputs = 0, [0, 2], [1]
    subgraph.operators = [lookup]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.EMBEDDING_LOOKUP
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "decode", 0
    signature.inputs, signature.outputs = [_place("mask", 0)], [_place("logits", 1)]
    weights = schema.BufferT()
    weights.data = np.zeros(128, np.uint8)
    model = schema.ModelT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT(), weights], [subgraph]
    model.operatorCodes, model.signatureDefs = [code], [signature]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name, shape, buffer):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.type = (
        name,
        shape,
        buffer,
        schema.TensorType.FLOAT32,
    )
    return tensor


def _place(name, tensor):
    place = schema.TensorMapT()
    place.name, place.tensorIndex = name, tensor
    return place


def task(tokenizer: Path) -> bytes:
    """A `.task`: stored entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("TF_LITE_PREFILL_DECODE", tflite())
        archive.writestr("TOKENIZER_MODEL", tokenizer.read_bytes())
        archive.writestr("METADATA", task_metadata())
    return file.getvalue()


def task_metadata() -> bytes:
    """MediaPipe's LlmParameters: start and stop tokens, and the affixes of user and model."""
    turns = b"".join(
        field(number, field(2, AFFIXES[role][0].encode()) + field(3, AFFIXES[role][1].encode()))
        for number, role in ((1, "user"), (2, "model"))
    )
    return field(6, b"<bos>") + field(5, b"<eos>") + field(5, b"<end_of_turn>") + field(17, turns)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def litertlm(folder: Path, tokenizer: Path) -> bytes:
    """A `.litertlm`, by its own builder."""
    from litert_lm_builder import LitertLmFileBuilder, TfLiteModelType

    contents = Contents(
        model_sha256="",
        tokenizer_sha256="",
        start_token="<bos>",
        stop_tokens=("<eos>", "<end_of_turn>"),
        affixes=AFFIXES,
        chat_template="{{ messages }}",
        context_length=16,
        model_type="generic_model",
        activation_type="fp32",
    )
    (folder / "model.tflite").write_bytes(tflite())
    (folder / "metadata.pb").write_bytes(_llm_metadata(contents, GemmaTokenizer(tokenizer)))
    builder = LitertLmFileBuilder()
    builder.add_llm_metadata(str(folder / "metadata.pb"))
    builder.add_sentencepiece_tokenizer(str(tokenizer))
    builder.add_tflite_model(str(folder / "model.tflite"), TfLiteModelType.PREFILL_DECODE)
    file = io.BytesIO()
    builder.build(file)
    return file.getvalue()
