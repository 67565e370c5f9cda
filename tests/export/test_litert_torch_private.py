"""Each private name of litert-torch that is changed, and that the file stays the same.

A failure here means that a new version of litert-torch moved or changed that name.
"""

from contextlib import nullcontext

import pytest

from exported import CACHE_LENGTH, PREFILL_LENGTHS
from gemma_finetune.export import converter
from gemma_finetune.export.litert_torch_private import decomposed_once, finite_weights_left_alone

pytestmark = pytest.mark.slow


def test_the_file_is_the_one_that_litert_torch_makes_by_itself(
    float32, talkative, tmp_path, monkeypatch
):
    for name in ("decomposed_once", "finite_weights_left_alone"):
        monkeypatch.setattr(converter, name, nullcontext)
    theirs = tmp_path / "float32.tflite"
    converter.convert_to_tflite(talkative, theirs, PREFILL_LENGTHS, CACHE_LENGTH)
    assert theirs.read_bytes() == float32.read_bytes()


def test_a_signature_is_exported_without_being_decomposed():
    import torch
    from litert_torch._convert import core, signature

    layer = torch.nn.Linear(3, 2).eval()
    sample = signature.Signature("f", layer, (torch.zeros(1, 3),), {})
    before = core.export_torch_signature
    with decomposed_once():
        program = core.export_torch_signature(sample)
    assert core.export_torch_signature is before
    assert "aten.linear" in str(program.graph)
    assert "aten.linear" not in str(before(sample).graph)


def test_weights_are_written_only_to_make_them_finite():
    import torch
    from litert_torch.backend import inline_consts

    before = inline_consts._clamp_inf_values
    finite, infinite = torch.ones(3), torch.tensor([1.0, float("inf"), -float("inf")])
    with finite_weights_left_alone():
        assert inline_consts._clamp_inf_values(finite) is finite
        assert inline_consts._clamp_inf_values(torch.empty(0)).numel() == 0
        assert inline_consts._clamp_inf_values(torch.tensor([1 << 40])).item() == 1 << 40
        clamped = inline_consts._clamp_inf_values(infinite)
    assert finite._version == 0
    largest = torch.finfo(torch.float32).max
    assert clamped.tolist() == [1.0, largest, -largest]
    assert inline_consts._clamp_inf_values is before
    assert before(finite)._version == 1  # it still needs this
