"""What LiteRT-LM does not tell of a .task or .litertlm: how much its context holds, and whose tokenizer it has."""

from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema
from sentencepiece import SentencePieceProcessor

from gemma_finetune.export.bundle_file import read_parts
from gemma_finetune.utils.cli import UserError


@dataclass(frozen=True)
class BundleFacts:
    context_length: int  # positions of the KV cache
    vocabulary_size: int  # logits of the model
    pieces: int  # of the tokenizer


def read_facts(path: str | Path) -> BundleFacts:
    """The facts of the bundle at `path`, read from the file without loading it. UserError if it is none."""
    parts = read_parts(path)
    try:
        mask, logits = _decode_shapes(parts["model"])
    except KeyError as missing:
        raise UserError(f"{path}: holds no language model of this project (no {missing.args[0].decode()})")
    pieces = SentencePieceProcessor(model_proto=bytes(parts["tokenizer"])).GetPieceSize()
    return BundleFacts(context_length=mask[-1], vocabulary_size=logits[-1], pieces=pieces)


def _decode_shapes(content):
    """Shapes of the input `mask` and the output `logits` of the signature `decode`. KeyError for what is missing."""
    model = schema.Model.GetRootAs(content, 0)
    signatures = {s.SignatureKey(): s for s in map(model.SignatureDefs, range(model.SignatureDefsLength()))}
    decode = signatures[b"decode"]
    graph = model.Subgraphs(decode.SubgraphIndex())
    inputs = {t.Name(): t.TensorIndex() for t in map(decode.Inputs, range(decode.InputsLength()))}
    outputs = {t.Name(): t.TensorIndex() for t in map(decode.Outputs, range(decode.OutputsLength()))}
    return [graph.Tensors(index).ShapeAsNumpy().tolist() for index in (inputs[b"mask"], outputs[b"logits"])]
