import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_lists_every_weight_once_under_its_own_name(float32, tokenizer):
    weights = {weight.name: weight for weight in TFLiteFile(float32).weights()}
    assert set(weights) == {
        "embedding",
        *(f"layers.{i}.{p}" for i in range(6) for p in PROJECTIONS),
    }
    assert weights["embedding"].shape == (tokenizer.vocabulary_size, 64)
    assert weights["layers.1.k_proj"].shape == weights["layers.1.v_proj"].shape == (32, 64)
    assert weights["layers.0.down_proj"].shape == (64, 96)
    assert {(w.dtype, w.granularity) for w in weights.values()} == {("FLOAT32", "")}
    assert all(w.bytes == 4 * w.shape[0] * w.shape[1] for w in weights.values())


def test_the_embedding_is_also_the_head(float32):
    embedding = next(
        weight for weight in TFLiteFile(float32).weights() if weight.name == "embedding"
    )
    assert ("FULLY_CONNECTED", "decode_logits_output;") in embedding.scopes


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 4, b"\x1c\x00\x00\x00TFL4"])
def test_refuses_another_file(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a TFLite model"):
        TFLiteFile(path)


@pytest.mark.parametrize("shape", [[], None])
def test_refuses_logits_without_a_shape(float32, tmp_path, shape):
    model = schema.ModelT.InitFromPackedBuf(float32.read_bytes())
    decode = next(s for s in model.signatureDefs if s.signatureKey == b"decode")
    logits = next(output for output in decode.outputs if output.name == b"logits")
    tensor = model.subgraphs[decode.subgraphIndex].tensors[logits.tensorIndex]
    tensor.shape = shape if shape is None else np.array(shape, np.int32)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.Output())
    with pytest.raises(UserError, match="not a TFLite model, or a damaged one"):
        TFLiteFile(path).vocabulary_size()
