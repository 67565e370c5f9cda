"""What the `.tflite` of a language model holds: its signatures, cache length and weights.

Reads the file, runs nothing. The file is mapped, not loaded: a 4 GB model costs a few MB here.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from gemma_finetune.formats.foreign import AGAIN, foreign
from gemma_finetune.utils.errors import UserError

_WEIGHT_OPS = {
    schema.BuiltinOperator.FULLY_CONNECTED: "FULLY_CONNECTED",
    schema.BuiltinOperator.EMBEDDING_LOOKUP: "EMBEDDING_LOOKUP",
}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
# The converter joins names: those of k and v also hold q_proj, v's may hold k_proj, and up's holds
# gate_proj. So the first that is found in this order counts.
_PROJECTIONS = ("v_proj", "k_proj", "q_proj", "o_proj", "up_proj", "gate_proj", "down_proj")

Scopes = Sequence[tuple[str, str]]  # (operation, name) of each use, which recipes match


@dataclass(frozen=True)
class Weight:
    """A weight matrix."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # FLOAT32, INT8, INT4, ...
    granularity: str  # "", CHANNELWISE, BLOCKWISE_32, ...
    bytes: int  # without its scales
    scopes: Scopes


class TFLiteFile:
    """A `.tflite`, as a file or as the `content` of a larger one.

    UserError if it is another kind of file, damaged or cut short.
    """

    def __init__(self, path: str | Path, content: memoryview | None = None):
        self.path = path
        with _reading(path):
            self._model = _whole_model(mapped(path) if content is None else content)

    def signatures(self) -> dict[str, int]:
        """{signature: its subgraph}."""
        with _reading(self.path):
            return {s.SignatureKey().decode(): s.SubgraphIndex() for s in self._signature_defs()}

    def _signature_defs(self) -> list[schema.SignatureDef]:
        return [self._model.SignatureDefs(i) for i in range(self._model.SignatureDefsLength())]

    def cache_length(self) -> int:
        """How many tokens the KV cache holds."""
        return self._last_dimension("Inputs", b"mask")

    def vocabulary_size(self) -> int:
        """How many logits the model gives."""
        return self._last_dimension("Outputs", b"logits")

    def _last_dimension(self, kind: str, name: bytes) -> int:
        """The last dimension of an input or output of `decode`. UserError if there is none."""
        with _reading(self.path):
            for signature in self._signature_defs():
                if signature.SignatureKey() != b"decode":
                    continue
                subgraph = self._model.Subgraphs(signature.SubgraphIndex())
                for i in range(getattr(signature, f"{kind}Length")()):
                    entry = getattr(signature, kind)(i)
                    if entry.Name() == name:
                        return int(subgraph.Tensors(entry.TensorIndex()).ShapeAsNumpy()[-1])
        raise UserError(
            f"{self.path}: no language model of this project: its `decode` has no {name.decode()}"
        )

    def weights(self) -> list[Weight]:
        """Every weight matrix once, in the order of the graph; signatures share them."""
        tensors: dict[int, schema.Tensor] = {}  # the first of each buffer
        scopes: dict[int, list[tuple[str, str]]] = {}
        with _reading(self.path):
            for operation, tensor, scope in self._weight_uses():
                tensors.setdefault(tensor.Buffer(), tensor)
                scopes.setdefault(tensor.Buffer(), []).append((operation, scope))
            return [self._weight(tensor, scopes[buffer]) for buffer, tensor in tensors.items()]

    def _weight_uses(self) -> Iterator[tuple[str, schema.Tensor, str]]:
        """(operation, weight tensor, scope) of every operation with a constant as its weight."""
        model = self._model
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        operations = [
            _WEIGHT_OPS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode())) for code in codes
        ]
        for i in range(model.SubgraphsLength()):
            subgraph = model.Subgraphs(i)
            for j in range(subgraph.OperatorsLength()):
                op = subgraph.Operators(j)
                operation = operations[op.OpcodeIndex()]
                if operation is None:
                    continue
                tensor = subgraph.Tensors(op.Inputs(1))
                if self._size(tensor):
                    output = subgraph.Tensors(op.Outputs(0))
                    yield operation, tensor, output.Name().decode() + ";"

    def _size(self, tensor: schema.Tensor) -> int:
        """Bytes of a tensor's data; 0 if it is not a constant."""
        buffer = self._model.Buffers(tensor.Buffer())
        # A file over 2 GB keeps its data behind the flatbuffer.
        return buffer.DataLength() or buffer.Size()

    def _weight(self, tensor: schema.Tensor, scopes: Scopes) -> Weight:
        return Weight(
            name=_weight_name(tensor.Name().decode(), scopes),
            shape=tuple(tensor.ShapeAsNumpy().tolist()),
            dtype=_TYPES[tensor.Type()],
            granularity=_granularity(tensor.Quantization()),
            bytes=self._size(tensor),
            scopes=tuple(dict.fromkeys(scopes)),
        )


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged file makes the reader raise all kinds of errors
        if Path(path).suffix == ".tflite" and (found := foreign(path)):
            raise UserError(f"{path}: not a TFLite model but {found}")
        raise UserError(f"{path}: not a TFLite model, or a damaged one ({error}); {AGAIN}")


def mapped(path: str | Path) -> mmap.mmap:
    """The content of a file, which the system reads as it is used."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _whole_model(content: mmap.mmap | memoryview) -> schema.Model:
    """The model. ValueError unless all its buffers lie within the file.

    LiteRT does not check that: it would read past the end, and the process would crash.
    """
    if content[4:8] != b"TFL3":
        raise ValueError("no TFLite header")
    model = schema.Model.GetRootAs(content)
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        length = buffer.DataLength()
        if length:
            buffer.Data(length - 1)
        end = buffer.Offset() + buffer.Size()
        if end > len(content):
            raise ValueError(f"a weight ends at byte {end} of {len(content)}")
    return model


def _weight_name(tensor_name: str, scopes: Scopes) -> str:
    """`embedding`, `lm_head`, `layers.3.v_proj`, or the tensor's own name if it is none of them."""
    if any(operation == "EMBEDDING_LOOKUP" for operation, _ in scopes):
        return "embedding"
    if any(scope == "decode_logits_output;" for _, scope in scopes):
        return "lm_head"
    projection = next((name for name in _PROJECTIONS if name in tensor_name), None)
    if projection is None or "hadamard" in tensor_name:
        return tensor_name
    layer = tensor_name.partition("DecoderLayer_")[2].partition("/")[0]
    return f"layers.{layer}.{projection}"


def _granularity(quantization: Any) -> str:
    if quantization is None:
        return ""
    if quantization.DetailsType() == schema.QuantizationDetails.BlockwiseQuantization:
        details = schema.BlockwiseQuantization()
        details.Init(quantization.Details().Bytes, quantization.Details().Pos)
        return f"BLOCKWISE_{details.BlockSize()}"
    if quantization.ScaleLength() == 0:
        return ""
    return "TENSORWISE" if quantization.ScaleLength() == 1 else "CHANNELWISE"
