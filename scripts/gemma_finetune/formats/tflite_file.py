"""What a `.tflite` of a language model holds: its signatures, cache length and weights. Reads the
file, runs nothing.

The file is mapped, not loaded: a 4 GB model costs a few MB here.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from gemma_finetune.utils.cli import UserError

_WEIGHT_OPS = {
    schema.BuiltinOperator.FULLY_CONNECTED: "FULLY_CONNECTED",
    schema.BuiltinOperator.EMBEDDING_LOOKUP: "EMBEDDING_LOOKUP",
}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
# Names are joined: k's and v's hold q_proj, v's may hold k_proj, up's holds gate_proj. So the first
# found here counts.
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
    """A `.tflite`, as a file or as the `content` of a larger one. UserError if it is none, or is
    cut short.
    """

    def __init__(self, path: str | Path, content: memoryview | None = None):
        self.path = path
        with _reading(path):
            self._model = _whole_model(_mapped(path) if content is None else content)

    def signatures(self) -> dict[str, int]:
        """{signature: its subgraph}."""
        with _reading(self.path):
            found = map(self._model.SignatureDefs, range(self._model.SignatureDefsLength()))
            return {s.SignatureKey().decode(): s.SubgraphIndex() for s in found}

    def cache_length(self) -> int:
        """How many tokens the KV cache holds."""
        return self._decode_shape("Inputs", b"mask")[-1]

    def vocabulary_size(self) -> int:
        """How many logits the model gives."""
        return self._decode_shape("Outputs", b"logits")[-1]

    def _decode_shape(self, kind, name) -> list[int]:
        """Shape of an input or output of the signature `decode`."""
        with _reading(self.path):
            for signature in map(
                self._model.SignatureDefs, range(self._model.SignatureDefsLength())
            ):
                tensors = map(
                    getattr(signature, kind), range(getattr(signature, f"{kind}Length")())
                )
                index = next(
                    (tensor.TensorIndex() for tensor in tensors if tensor.Name() == name), None
                )
                if signature.SignatureKey() == b"decode" and index is not None:
                    return (
                        self._model.Subgraphs(signature.SubgraphIndex())
                        .Tensors(index)
                        .ShapeAsNumpy()
                        .tolist()
                    )
        raise UserError(
            f"{self.path}: no language model of this project: its `decode` has no {name.decode()}"
        )

    def weights(self) -> list[Weight]:
        """Every weight matrix once, in the order of the graph; signatures share them."""
        found: dict[int, tuple] = {}
        with _reading(self.path):
            for operation, tensor, scope in self._weight_uses():
                tensors, scopes = found.setdefault(tensor.Buffer(), ([], []))
                tensors.append(tensor)
                scopes.append((operation, scope))
            return [self._weight(tensors[0], scopes) for tensors, scopes in found.values()]

    def _weight_uses(self) -> Iterator[tuple]:
        """(operation, weight tensor, scope) of every op that multiplies by, or looks up in, a
        constant.
        """
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
        return (
            buffer.DataLength() or buffer.Size()
        )  # a file over 2 GB keeps its data behind the flatbuffer

    def _weight(self, tensor, scopes) -> Weight:
        return Weight(
            name=_weight_name(tensor.Name().decode(), scopes),
            shape=tuple(int(n) for n in tensor.ShapeAsNumpy()),
            dtype=_TYPES[tensor.Type()],
            granularity=_granularity(tensor.Quantization()),
            bytes=self._size(tensor),
            scopes=tuple(dict.fromkeys(scopes)),
        )


@contextmanager
def _reading(path):
    try:
        yield
    except Exception as error:  # the reader raises whatever a damaged file makes it stumble over
        raise UserError(
            f"{path}: no TFLite model, or a damaged one ({error}); run the stage that makes it again"
        )


def _mapped(path):
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _whole_model(content):
    """The model, once the last byte of each buffer is known to be there. LiteRT would read on, and
    the process die.
    """
    if content[4:8] != b"TFL3":
        raise ValueError("no TFLite header")
    model = schema.Model.GetRootAs(content)
    for buffer in map(model.Buffers, range(model.BuffersLength())):
        if length := buffer.DataLength():
            buffer.Data(length - 1)
        if buffer.Offset() + buffer.Size() > len(content):
            raise ValueError(
                f"a weight ends at byte {buffer.Offset() + buffer.Size()} of {len(content)}"
            )
    return model


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
