"""Nothing that is downloaded is run, and what was downloaded is told."""

import ast
import json
import runpy

import huggingface_hub
import kagglehub
import pytest

from gemma_finetune.utils.errors import UserError
from imports import SCRIPTS

pytestmark = pytest.mark.slow

COMMIT = "9b0cfec892e2bc2afd938c98eabe4e4a7b1e0ca1"
REFUSALS = ("trust_remote_code=False", "**LOCAL")  # evaluation/torch_rung.py says what LOCAL is
LOADERS = ("from_pretrained", "export")  # calls that take trust_remote_code


OWN_CLASS = "Gemma3TextConfig."  # a class of the library's own reads no code of the model's


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in LOADERS:
            call = ast.unparse(node)
            if not call.startswith(OWN_CLASS):
                yield f"{path.name}:{node.lineno}", call


def test_every_call_that_could_run_a_models_code_says_no():
    found = dict(call for path in SCRIPTS.rglob("*.py") for call in calls(path))
    assert len(found) == 3
    assert [
        place for place, call in found.items() if not any(word in call for word in REFUSALS)
    ] == []
    assert not [
        path for path in SCRIPTS.rglob("*.py") if "trust_remote_code=True" in path.read_text()
    ]


@pytest.mark.parametrize(
    ("preset", "folder"),
    [
        ("hf://google/gemma-3-270m-it", f"snapshots/{COMMIT}"),
        ("hf://google/gemma-3-270m-it@main", f"snapshots/{COMMIT}"),
        ("kaggle://keras/gemma3/keras/gemma3_instruct_270m", "gemma3_instruct_270m/4"),
        ("gemma3_instruct_1b", "gemma3_instruct_1b/4"),
    ],
)
def test_a_download_says_which_revision_it_was(
    base_dir, write_params, tmp_path, monkeypatch, preset, folder
):
    """`main` and "the latest" move; models/base/source.json is what a teammate pulls."""
    downloaded = tmp_path / "cache" / folder
    downloaded.parent.mkdir(parents=True)
    downloaded.symlink_to(base_dir)

    def download(name, path="", **options):
        return str(downloaded / path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(kagglehub, "model_download", download)
    write_params({"model.preset": preset})
    runpy.run_path(str(SCRIPTS / "base.py"))["main"]()
    source = json.loads((tmp_path / "models/base/source.json").read_text())
    assert source == {"preset": preset, "revision": folder.split("/")[1]}


def test_a_directory_of_ones_own_has_no_revision(base_dir, write_params, tmp_path):
    write_params({"model.preset": str(base_dir), "model.watch": str(base_dir)})
    runpy.run_path(str(SCRIPTS / "base.py"))["main"]()
    assert not (tmp_path / "models/base/source.json").exists()


def test_a_directory_that_dvc_does_not_watch_is_refused(base_dir, write_params, tmp_path):
    write_params({"model.preset": str(base_dir)})
    says = f"-S model.preset={base_dir} -S model.watch={base_dir}"
    with pytest.raises(UserError, match=f"new weights in it would go unnoticed; .*{says}"):
        runpy.run_path(str(SCRIPTS / "base.py"))["main"]()
    assert not (tmp_path / "models/base").exists()


def test_a_models_own_code_is_not_passed_on(base_dir, tmp_path):
    """config.json may name Python files to run, in `auto_map`."""
    from gemma_finetune.formats.hf_layout import finish_layout

    for file in base_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}})
    )
    finish_layout(tmp_path, "float32")
    assert (tmp_path / "config.json").read_bytes() == (base_dir / "config.json").read_bytes()
