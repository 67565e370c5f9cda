import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from safetensors.numpy import save_file

from exported import CACHE_LENGTH, PREFILL_LENGTHS
from gemma_finetune.export import converter
from gemma_finetune.export.converter import (
    check_conversion,
    check_lengths,
    check_signatures,
    convert_to_tflite,
)
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils import machine
from gemma_finetune.utils.errors import UserError
from imports import SCRIPTS

pytestmark = pytest.mark.slow


def test_leaves_one_file_with_the_signatures_and_the_cache_asked_for(float32):
    assert [path.name for path in float32.parent.iterdir() if path.suffix != ".tflite"] == []
    file = TFLiteFile(float32)
    assert set(file.signatures()) == {"prefill_8", "prefill_32", "decode"}
    assert file.cache_length() == CACHE_LENGTH


def test_logits_are_those_of_transformers(float32, talkative):
    """Prefill and decode against the model that the file was made from, past the sliding window."""
    import torch
    from transformers import Gemma3ForCausalLM

    from gemma_finetune.runtime.tflite_model import TFLiteModel

    ids = [2, *np.random.default_rng(0).integers(4, 300, 40).tolist()]
    with torch.no_grad():
        logits = Gemma3ForCausalLM.from_pretrained(talkative)(torch.tensor([ids])).logits
    reference = logits[0, -1].numpy()
    model = TFLiteModel(float32, threads=1)
    model.prefill(ids[:-1])
    found = model.decode(ids[-1])
    assert np.abs(reference).max() > 1
    np.testing.assert_allclose(found, reference, atol=1e-4)


def test_the_file_is_the_one_that_litert_torch_makes_by_itself(
    float32, talkative, tmp_path, monkeypatch
):
    for name in ("_decomposed_once", "_finite_weights_left_alone"):
        monkeypatch.setattr(converter, name, nullcontext)
    theirs = tmp_path / "float32.tflite"
    convert_to_tflite(talkative, theirs, PREFILL_LENGTHS, CACHE_LENGTH)
    assert theirs.read_bytes() == float32.read_bytes()


def with_weights_outside(path, out, seed):
    """The model as the converter writes one over 2 GB: weights behind the flatbuffer, shuffled."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    outside = {}
    for number, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data) > 100:
            outside[number], buffer.data = bytes(buffer.data), None
            buffer.size, buffer.offset = len(outside[number]), 1 << 40
    assert len(outside) > 40
    numbers = np.random.default_rng(seed).permutation(list(outside)).tolist()
    position = -(-len(packed(model)) // 16) * 16
    weights = bytes(position - len(packed(model)))
    for number in numbers:
        model.buffers[number].offset = position
        weights += outside[number] + bytes(16 - len(outside[number]) % 16)
        position += len(outside[number]) + 16 - len(outside[number]) % 16
    out.write_bytes(packed(model) + weights + bytes(32))
    return out


def test_weights_that_share_a_place_share_one_in_order(float32, tmp_path):
    """TensorFlow's exporter writes equal weights once."""
    shuffled = with_weights_outside(float32, tmp_path / "shuffled.tflite", seed=0)
    content = shuffled.read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content)
    first, second = [buffer for buffer in model.buffers if buffer.offset > 1][:2]
    second.offset, second.size = first.offset, first.size
    start = min(buffer.offset for buffer in model.buffers if buffer.offset > 1)
    shuffled.write_bytes(packed(model).ljust(start, b"\0") + content[start:])

    converter.move_in_order(shuffled, tmp_path / "moved.tflite")
    moved = (tmp_path / "moved.tflite").read_bytes()
    assert len(moved) == len(content)
    found = schema.ModelT.InitFromPackedBuf(moved).buffers
    places = [found[model.buffers.index(buffer)].offset for buffer in (first, second)]
    assert places[0] == places[1] == start
    for before, after in zip(model.buffers, found, strict=True):
        if before.offset > 1:
            weight = content[before.offset : before.offset + before.size]
            assert moved[after.offset : after.offset + after.size] == weight


def packed(model):
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_file_over_2_gb_has_its_weights_in_one_order(float32, tmp_path):
    from gemma_finetune.runtime.tflite_model import TFLiteModel

    found = []
    for seed in (0, 1):
        shuffled = with_weights_outside(float32, tmp_path / "shuffled.tflite", seed)
        found.append((shuffled.read_bytes(), tmp_path / f"{seed}.tflite"))
        converter.move_in_order(shuffled, found[-1][1])
        assert not shuffled.exists()
    (first, path), (second, other) = found
    assert first != second and len(first) == len(second)
    assert path.read_bytes() == other.read_bytes()
    ids = range(4, 40)
    models = [TFLiteModel(file, threads=1) for file in (float32, path)]
    for model in models:
        model.prefill(ids)
    np.testing.assert_array_equal(*(model.decode(3) for model in models))


def test_a_smaller_file_stays_as_it_is(float32, tmp_path):
    shutil.copyfile(float32, tmp_path / "a.tflite")
    converter.move_in_order(tmp_path / "a.tflite", tmp_path / "b.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["b.tflite"]
    assert (tmp_path / "b.tflite").read_bytes() == float32.read_bytes()


def test_a_signature_is_exported_without_being_decomposed():
    import torch
    from litert_torch._convert import core, signature

    layer = torch.nn.Linear(3, 2).eval()
    sample = signature.Signature("f", layer, (torch.zeros(1, 3),), {})
    before = core.export_torch_signature
    with converter._decomposed_once():
        program = core.export_torch_signature(sample)
    assert core.export_torch_signature is before
    assert "aten.linear" in str(program.graph)
    assert "aten.linear" not in str(before(sample).graph)


def test_weights_are_written_only_to_make_them_finite():
    import torch
    from litert_torch.backend import inline_consts

    before = inline_consts._clamp_inf_values
    finite, infinite = torch.ones(3), torch.tensor([1.0, float("inf"), -float("inf")])
    with converter._finite_weights_left_alone():
        assert inline_consts._clamp_inf_values(finite) is finite
        assert inline_consts._clamp_inf_values(torch.empty(0)).numel() == 0
        assert inline_consts._clamp_inf_values(torch.tensor([1 << 40])).item() == 1 << 40
        clamped = inline_consts._clamp_inf_values(infinite)
    assert finite._version == 0
    largest = torch.finfo(torch.float32).max
    assert clamped.tolist() == [1.0, largest, -largest]
    assert inline_consts._clamp_inf_values is before
    assert before(finite)._version == 1  # it still needs this


@pytest.mark.parametrize(
    "prefill, cache, at_fault",
    [
        ((32, 8), 96, "ascending"),
        ((8, 8), 96, "each named once"),
        ((0, 8), 96, "positive"),
        ((8, 96), 96, "leaves no room"),
        ((8, 32), 2000, "1024 positions"),
    ],
)
def test_refuses_lengths_that_cannot_work_together(prefill, cache, at_fault):
    with pytest.raises(UserError, match=at_fault):
        check_lengths(prefill, cache, 1024)


def test_accepts_lengths_that_can(talkative):
    check_lengths(PREFILL_LENGTHS, CACHE_LENGTH, 1024)


def test_says_what_it_will_cost_and_stops_when_memory_lacks(talkative, monkeypatch, capsys):
    check_conversion(talkative, PREFILL_LENGTHS, CACHE_LENGTH, calibration_tokens=0)
    size = converter.float32_bytes(talkative / "model.safetensors")
    disk = f"{size / 1e6:.1f} MB of disk"
    assert f"s, 1.4 GB of memory, {disk}; " in capsys.readouterr().out
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000)
    with pytest.raises(UserError, match="takes about 1.4 GB of memory and 0.0 GB are free"):
        check_conversion(talkative, PREFILL_LENGTHS, CACHE_LENGTH, calibration_tokens=0)


def test_stops_when_disk_lacks(talkative, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"the disk has 0\.0 MB free, and converting writes about"):
        check_conversion(talkative, PREFILL_LENGTHS, CACHE_LENGTH, calibration_tokens=0)


@pytest.mark.parametrize(
    "size, calibration_tokens, copies", [(1.0, 0, 1), (1.0, 500, 2), (4.0, 0, 2), (4.0, 500, 3)]
)
def test_a_scaled_model_and_a_file_put_in_order_take_disk_as_well(size, calibration_tokens, copies):
    assert converter.disk_bytes(size * 1e9, calibration_tokens) == copies * size * 1e9


def test_estimate_grows_with_weights_layers_signatures_and_scaling(tmp_path):
    sizes = {"vocab_size": 1000, "hidden_size": 10, "num_hidden_layers": 2}
    save_file({"a": np.zeros((5000, 1000), np.float16)}, tmp_path / "model.safetensors")
    assert converter.float32_bytes(tmp_path / "model.safetensors") == 20_000_000
    small = converter.estimate(tmp_path, sizes, 1, 0)
    more_layers = sizes | {"num_hidden_layers": 4, "vocab_size": 2000}
    large = converter.estimate(tmp_path, more_layers, 2, 0)
    assert large.seconds > small.seconds and large.memory > small.memory
    scaled = [converter.estimate(tmp_path, sizes, 1, tokens).seconds for tokens in (500, 1000)]
    assert small.seconds < scaled[0] < scaled[1]


def stand_in_for_export(monkeypatch, finish):
    """An `export_hf` of two steps, which then calls `finish` with its output folder."""
    from litert_torch import progress
    from litert_torch.generative.export_hf import export

    def stand_in(output_dir, **_):
        with progress.task("Export"):
            with progress.task("Lower to MLIR: decode"):
                pass
        finish(Path(output_dir))

    monkeypatch.setattr(export, "export", stand_in)


def test_the_steps_are_shown_as_one_bar_on_standard_error(
    float32, talkative, tmp_path, monkeypatch, capfd
):
    def finish(folder):
        folder.mkdir()
        shutil.copyfile(float32, folder / "model.tflite")

    stand_in_for_export(monkeypatch, finish)
    convert_to_tflite(talkative, tmp_path / "float32.tflite", PREFILL_LENGTHS, CACHE_LENGTH)
    out, err = capfd.readouterr()
    assert "Lower to MLIR: decode:" in err and "/27 [" in err  # as many as three signatures take
    assert "START" not in out + err


def test_what_was_printed_before_a_failure_is_shown(talkative, tmp_path, monkeypatch, capsys):
    def finish(folder):
        print("the converter's last words")
        raise RuntimeError("no")

    stand_in_for_export(monkeypatch, finish)
    with pytest.raises(RuntimeError, match="no"):
        convert_to_tflite(talkative, tmp_path / "float32.tflite", PREFILL_LENGTHS, CACHE_LENGTH)
    out = capsys.readouterr().out
    assert "[START] Export > Lower to MLIR: decode" in out and "the converter's last words" in out
    assert list(tmp_path.iterdir()) == []


def test_the_converter_is_loaded_without_tensorflow(tmp_path):
    code = f"""
import sys
from gemma_finetune.export.converter import convert_to_tflite
try:
    convert_to_tflite({str(tmp_path)!r}, {str(tmp_path / "float32.tflite")!r}, [8], 64)
except (OSError, ValueError):  # there is no model
    pass
assert "litert_torch" in sys.modules and "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True, timeout=300)


def test_a_file_without_what_was_asked_for_is_refused(float32):
    with pytest.raises(UserError, match="prefill_16"):
        check_signatures(float32, (8, 16), CACHE_LENGTH)
    with pytest.raises(UserError, match=f"cache of {CACHE_LENGTH}"):
        check_signatures(float32, PREFILL_LENGTHS, 128)


def test_names_the_stage_that_makes_a_missing_model(tmp_path):
    with pytest.raises(UserError, match="dvc repro merge"):
        check_conversion(tmp_path, PREFILL_LENGTHS, CACHE_LENGTH, calibration_tokens=0)


def test_the_model_s_own_context_is_the_limit_of_the_cache(talkative):
    assert json.loads((talkative / "config.json").read_text())["max_position_embeddings"] == 1024
    with pytest.raises(UserError, match="1024 positions"):
        check_conversion(talkative, PREFILL_LENGTHS, 2048, calibration_tokens=0)
