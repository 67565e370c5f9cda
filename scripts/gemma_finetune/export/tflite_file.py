"""What a `.tflite` of a language model holds: its signatures, cache length and weights. Reads the file, runs nothing.

The file is mapped, not loaded: a 4 GB model costs a few MB here.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from gemma_finetune.utils.cli import UserError

_CACHE_AXIS = 2  # of kv_cache_k_0: (1, key/value heads, cache length, head dimension)
_WEIGHT_OPS = {
    schema.BuiltinOperator.FULLY_CONNECTED: "FULLY_CONNECTED",
    schema.BuiltinOperator.EMBEDDING_LOOKUP: "EMBEDDING_LOOKUP",
}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
# Names are joined: k's and v's hold q_proj, v's may hold k_proj, up's holds gate_proj. So the first found here counts.
_PROJECTIONS = ("v_proj", "k_proj", "q_proj", "o_proj", "up_proj", "gate_proj", "down_proj")


@dataclass(frozen=True)
class Weight:
    """A weight matrix. `scopes` are the (operation, name) pairs that quantization recipes match."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # FLOAT32, INT8, INT4, ...
    granularity: str  # "", CHANNELWISE, BLOCKWISE_32, ...
    bytes: int  # without its scales
    scopes: tuple[tuple[str, str], ...]


class TFLiteFile:
    """An opened `.tflite`. UserError if the file is not one, or is cut short."""

    def __init__(self, path: str | Path):
        self.path = path
        with open(path, "rb") as file:
            header = file.read(8)
            if header[4:8] != b"TFL3":
                raise UserError(f"{path}: not a TFLite model, or damaged; run the stage that makes it again")
            self._model = schema.Model.GetRootAs(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def signatures(self) -> dict[str, int]:
        """{signature: its subgraph}."""
        model = self._model
        found = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
        return {s.SignatureKey().decode(): s.SubgraphIndex() for s in found}

    def cache_length(self) -> int:
        """How many tokens the KV cache of the `decode` signature holds."""
        for i in range(self._model.SignatureDefsLength()):
            signature = self._model.SignatureDefs(i)
            inputs = [signature.Inputs(j) for j in range(signature.InputsLength())]
            caches = [t.TensorIndex() for t in inputs if t.Name() == b"kv_cache_k_0"]
            if signature.SignatureKey() == b"decode" and caches:
                subgraph = self._model.Subgraphs(signature.SubgraphIndex())
                return int(subgraph.Tensors(caches[0]).ShapeAsNumpy()[_CACHE_AXIS])
        raise UserError(f"{self.path}: not a language model: no `decode` signature with a KV cache")

    def weights(self) -> list[Weight]:
        """Every weight matrix once, in the order of the graph; signatures share them."""
        found: dict[int, tuple] = {}
        for operation, tensor, scope in self._weight_uses():
            tensors, scopes = found.setdefault(tensor.Buffer(), ([], []))
            tensors.append(tensor)
            scopes.append((operation, scope))
        return [self._weight(tensors[0], scopes) for tensors, scopes in found.values()]

    def _weight_uses(self) -> Iterator[tuple]:
        """(operation, weight tensor, scope) of every op that multiplies by, or looks up in, a constant."""
        model = self._model
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        codes = [max(c.BuiltinCode(), c.DeprecatedBuiltinCode()) for c in codes]
        for subgraph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
            for op in (subgraph.Operators(i) for i in range(subgraph.OperatorsLength())):
                operation = _WEIGHT_OPS.get(codes[op.OpcodeIndex()])
                if operation and self._size(tensor := subgraph.Tensors(op.Inputs(1))):
                    yield operation, tensor, subgraph.Tensors(op.Outputs(0)).Name().decode() + ";"

    def _size(self, tensor) -> int:
        buffer = self._model.Buffers(tensor.Buffer())
        return buffer.DataLength() or buffer.Size()  # a file over 2 GB keeps its data behind the flatbuffer

    def _weight(self, tensor, scopes) -> Weight:
        return Weight(
            name=_weight_name(tensor.Name().decode(), scopes),
            shape=tuple(int(n) for n in tensor.ShapeAsNumpy()),
            dtype=_TYPES[tensor.Type()],
            granularity=_granularity(tensor.Quantization()),
            bytes=self._size(tensor),
            scopes=tuple(dict.fromkeys(scopes)),
        )


def _weight_name(tensor_name: str, scopes) -> str:
    """`embedding`, `layers.3.v_proj`, or the tensor's own name where it is neither."""
    if any(operation == "EMBEDDING_LOOKUP" for operation, _ in scopes):
        return "embedding"
    if any(scope == "decode_logits_output;" for _, scope in scopes):
        return "lm_head"
    projection = next((p for p in _PROJECTIONS if p in tensor_name), None)
    layer = tensor_name.partition("DecoderLayer_")[2].partition("/")[0]
    if projection is None or "hadamard" in tensor_name:
        return tensor_name
    return f"layers.{layer}.{projection}"


def _granularity(quantization) -> str:
    if quantization is None:
        return ""
    if quantization.DetailsType() == schema.QuantizationDetails.BlockwiseQuantization:
        details = schema.BlockwiseQuantization()
        details.Init(quantization.Details().Bytes, quantization.Details().Pos)
        return f"BLOCKWISE_{details.BlockSize()}"
    if quantization.ScaleLength() == 0:
        return ""
    return "TENSORWISE" if quantization.ScaleLength() == 1 else "CHANNELWISE"
