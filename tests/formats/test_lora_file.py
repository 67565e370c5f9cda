import json
from dataclasses import replace

import numpy as np
import pytest

from gemma_finetune.export.merge import target_shapes
from gemma_finetune.formats.lora_file import base_digest, check_fits, load_lora, save_lora
from gemma_finetune.utils.errors import UserError
from lora_settings import lora_config

pytestmark = pytest.mark.slow

CONFIG = lora_config()


def make_weights(base_dir, seed=0):
    rng = np.random.default_rng(seed)
    weights = {}
    for path, (rows, columns) in target_shapes(base_dir, CONFIG.targets).items():
        weights[f"{path}.lora_A"] = rng.normal(size=(4, columns)).astype("float32")
        weights[f"{path}.lora_B"] = rng.normal(size=(rows, 4)).astype("float32")
    return weights


@pytest.fixture
def lora_path(tmp_path, base_dir):
    path = tmp_path / "lora.npz"
    save_lora(path, make_weights(base_dir), CONFIG, base_digest(base_dir))
    return path


def rewrite(path, change):
    arrays = dict(np.load(path))
    change(arrays)
    np.savez(path, **arrays)


def test_an_adapter_comes_back_as_it_was_and_fits_its_base(lora_path, base_dir):
    adapter = load_lora(lora_path)
    assert adapter.config == CONFIG
    for name, array in make_weights(base_dir).items():
        np.testing.assert_array_equal(adapter.weights[name], array)
    check_fits(lora_path, adapter, base_dir, target_shapes(base_dir, CONFIG.targets))


def test_the_same_adapter_gives_the_same_bytes(lora_path, tmp_path, base_dir):
    save_lora(tmp_path / "again.npz", make_weights(base_dir), CONFIG, base_digest(base_dir))
    assert lora_path.read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_another_base_is_refused(lora_path, base_dir):
    rewrite(
        lora_path,
        lambda a: a.update(
            metadata=json.dumps(json.loads(str(a["metadata"])) | {"base_sha256": "0" * 64})
        ),
    )
    with pytest.raises(UserError, match="trained on another base"):
        check_fits(
            lora_path, load_lora(lora_path), base_dir, target_shapes(base_dir, CONFIG.targets)
        )


LAYER = "model.layers.5.self_attn.v_proj"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.pop(f"{LAYER}.lora_B"), "counterpart .*lora_B is missing"),
        (
            lambda a: a.update({f"{LAYER}.lora_A": a[f"{LAYER}.lora_A"][:2]}),
            "expected float32 of rank 4",
        ),
        (
            lambda a: a.update({f"{LAYER}.lora_A": a[f"{LAYER}.lora_A"].astype("float64")}),
            "expected float32 of rank 4",
        ),
        (lambda a: a.update({"surprise": np.zeros(3)}), "surprise"),
        (lambda a: a.pop("metadata"), "has no `metadata`"),
        (lambda a: a.update(metadata="{}"), "metadata is damaged"),
        (lambda a: a.update(metadata="[1"), "metadata is damaged"),
        (
            lambda a: a.update(metadata=json.dumps({"format_version": 1})),
            "written by another version",
        ),
        (
            lambda a: a.update(metadata=json.dumps({"format_version": 3, "rank": 4})),
            "metadata is damaged",
        ),
    ],
)
def test_damage_is_named(lora_path, change, says):
    rewrite(lora_path, change)
    with pytest.raises(UserError, match=says):
        load_lora(lora_path)


def drop(arrays, layer):
    del arrays[f"{layer}.lora_A"], arrays[f"{layer}.lora_B"]


def add(arrays, layer):
    arrays[f"{layer}.lora_A"], arrays[f"{layer}.lora_B"] = (
        np.zeros((4, 32), "float32"),
        np.zeros((16, 4), "float32"),
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: drop(a, LAYER), f"no adapter for {LAYER}"),
        (lambda a: add(a, "model.layers.6.self_attn.v_proj"), "layers.6.*the base does not have"),
        (
            lambda a: a.update({f"{LAYER}.lora_B": np.zeros((8, 4), "float32")}),
            f"{LAYER}: adapter is for a",
        ),
    ],
)
def test_an_adapter_of_another_shape_is_refused(lora_path, base_dir, change, says):
    rewrite(lora_path, change)
    with pytest.raises(UserError, match=says):
        check_fits(
            lora_path, load_lora(lora_path), base_dir, target_shapes(base_dir, CONFIG.targets)
        )


def test_truncated_foreign_and_pickled_files_are_refused(lora_path, tmp_path):
    lora_path.write_bytes(lora_path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a readable npz"):
        load_lora(lora_path)
    lora_path.write_bytes(b"hello")
    with pytest.raises(UserError, match="not a readable npz"):
        load_lora(lora_path)
    np.savez(lora_path, metadata=np.array([{"a": object}], dtype=object))
    with pytest.raises(UserError, match="not a readable npz"):
        load_lora(lora_path)
    with pytest.raises(UserError, match="dvc repro train"):
        load_lora(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 8 / 4), (True, 8 / 2)])
def test_the_file_says_the_scale_of_its_update(lora_path, base_dir, use_rslora, scale):
    weights = make_weights(base_dir)
    config = replace(CONFIG, use_rslora=use_rslora, dropout=0.1)
    save_lora(lora_path, weights, config, "")
    adapter = load_lora(lora_path)
    assert adapter.config == config
    lora_A = weights[f"{LAYER}.lora_A"].astype("float64")
    lora_B = weights[f"{LAYER}.lora_B"].astype("float64")
    np.testing.assert_allclose(adapter.delta(LAYER), scale * lora_B @ lora_A, rtol=1e-6)
