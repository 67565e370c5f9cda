"""Files that are cut short, or too small: named with their hop before a model is loaded."""

import pytest

import evaluate
from gemma_finetune.evaluation import dataset, identity
from gemma_finetune.utils.cli import UserError

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
        evaluate.main()


def test_a_cache_too_short_for_the_test_set_is_an_error_that_says_how_long(chain, test_set):
    long = [dataset.probe(test_set.conversations, CACHE_LENGTH + 1)]
    with pytest.raises(UserError, match=f"raise export.cache_length to {CACHE_LENGTH + 1} or more"):
        identity.check_cache(chain / "models/tflite/float32.tflite", long)


def test_files_of_a_removed_quantization_are_named(chain):
    folders = (chain / "models/tflite", chain / "models/bundle")
    assert identity.strays(folders, ("float32", *QUANTIZATIONS)) == []
    left = identity.strays(folders, ("float32", "int8"))
    assert [path.name for path in left] == ["int4.tflite", "int4.litertlm", "int4.task"]


def test_evaluate_says_to_delete_files_of_a_removed_quantization(copy, test_set, tokenizer, capsys):
    evaluate.check_models(test_set, tokenizer, ("int8",))
    note = capsys.readouterr().err
    assert "models/tflite/int4.tflite" in note and "models/bundle/int4.task" in note
    assert "Delete them: DVC hashes the whole folder" in note
