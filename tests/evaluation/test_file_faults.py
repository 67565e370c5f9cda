"""Files that are cut short, or too small: named with their hop before a model is loaded."""

import pytest

import evaluate
import measure_float
from gemma_finetune.evaluation import dataset, identity
from gemma_finetune.utils.errors import UserError

from .conftest import CACHE_LENGTH, QUANTIZATIONS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["float32", *QUANTIZATIONS])
def test_a_whole_tflite_passes(chain, name):
    identity.check_whole(chain / f"models/tflite/{name}.tflite", f"quantize@{name}")


@pytest.mark.parametrize("part", [0.999, 0.7, 0.3, 0.01])
def test_a_truncated_tflite_is_named(copy, part):
    path = copy / "models/tflite/int8.tflite"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UserError, match="hop quantize@int8: .*int8.tflite: .* a damaged one"):
        identity.check_whole(path, "quantize@int8")


@pytest.mark.parametrize("stage", ["base", "merge"])
@pytest.mark.parametrize("part", [0.999, 0.3, 0.0001])
def test_truncated_weights_are_named(copy, stage, part):
    directory = copy / "models" / {"base": "base", "merge": "merged"}[stage]
    identity.check_weights(directory, stage)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UserError, match=f"hop {stage}: .*model.safetensors: damaged or cut short"):
        identity.check_weights(directory, stage)


def test_a_missing_configuration_is_named(copy):
    (copy / "models/merged/config.json").unlink()
    with pytest.raises(UserError, match="config.json is missing: make it with `dvc repro merge`"):
        measure_float.main()


@pytest.mark.parametrize("part", [0, 0.5])
def test_a_damaged_adapter_is_named_before_anything_is_measured(copy, monkeypatch, part):
    monkeypatch.setattr(measure_float, "announce", lambda *_: pytest.fail("measuring starts"))
    path = copy / "models/lora.npz"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UserError, match="models/lora.npz: .* run `dvc repro train`"):
        measure_float.main()


def test_a_cache_too_short_for_the_test_set_is_an_error_that_says_how_long(chain, test_set):
    long = [dataset.probe(test_set.conversations, CACHE_LENGTH + 1)]
    with pytest.raises(UserError, match=f"raise export.cache_length to {CACHE_LENGTH + 1} or more"):
        identity.check_cache(chain / "models/tflite/float32.tflite", long)


def test_evaluate_says_to_delete_files_of_a_removed_quantization(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models/measured"
    folder.mkdir(parents=True)
    for name in ("float.json", "merged.safetensors", "int8.json", "int4.json", ".int8.json.7.tmp"):
        (folder / name).touch()
    evaluate.warn_of_strays(("int8", "int4"))
    assert capsys.readouterr().err == ""
    evaluate.warn_of_strays(("int8",))
    note = capsys.readouterr().err
    assert note.startswith("models/measured/int4.json: not of a quantization in params.yaml")
    assert "Delete them: DVC hashes the whole folder" in note
