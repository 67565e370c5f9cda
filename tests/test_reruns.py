"""What a change runs again: parameters against the table in docs/parameters.md, and files of code.

Stand-ins take the place of models and data, and `dvc commit` records them: nothing is trained.
"""

import functools
import re
import shutil
from pathlib import Path

import dvc.dependency.param
import networkx
import pytest
import yaml
from dvc.repo import Repo

from clones import git, run
from imports import ROOT

pytestmark = pytest.mark.slow

MARKS = "●○"  # runs; runs if what it reads came out different
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = list(PIPELINE)
PAGE = ROOT / "docs/parameters.md"
GATE = "Lock, code and parameters agree"


def read_table():
    """The table of reruns: {first cell: [{stages marked ●}, {stages marked ○}]}."""
    rows = [row.split(" | ") for row in re.findall(r"^\| (.+) \|$", PAGE.read_text(), re.MULTILINE)]
    header, *body = [cells for cells in rows if len(cells) == 1 + len(STAGES)]
    assert header[1:] == STAGES
    return {first: [stages_marked(mark, marks) for mark in MARKS] for first, *marks in body}


def stages_marked(mark, marks):
    return {stage for stage, cell in zip(STAGES, marks, strict=True) if cell == mark}


TABLE = read_table()


def row_of(key):
    """The row that names a parameter; a name in full goes before its section (`train.*`)."""
    rows = {
        name: marks for first, marks in TABLE.items() for name in re.findall(r"`([^`]+)`", first)
    }
    return rows.get(key) or rows[key.split(".")[0] + ".*"]


def leaves(node, path=()):
    if not isinstance(node, dict):
        return [".".join(path)]
    return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]


@pytest.fixture(scope="module")
def shared_repo(stand_ins, tmp_path_factory):
    with Repo(str(shutil.copytree(stand_ins, tmp_path_factory.mktemp("reruns") / "clone"))) as repo:
        yield repo


@pytest.fixture
def repo(shared_repo, monkeypatch):
    """DVC's view of the clone, for changes that keep the stages; undone after the test."""
    # Every stage parses params.yaml anew, which takes most of the time.
    load_once = functools.cache(dvc.dependency.param.load_path)
    monkeypatch.setattr(dvc.dependency.param, "load_path", load_once)
    monkeypatch.chdir(shared_repo.root_dir)
    yield shared_repo
    git(shared_repo.root_dir, "checkout", "-q", ".")


def reruns(repo, section=None):
    """[Stages that would run, later stages that would run if what they read came out different].

    section: of the parameter that was changed. Of what `settings` writes, only that section can
    come out different, and a stage may not read it.
    """
    with repo.lock:  # not repo.status(): it reads dvc.yaml and dvc.lock anew each time
        changed = {stage.addressing for stage in repo.index.stages if stage.changed()}
    graph = networkx.relabel_nodes(repo.index.graph, lambda stage: stage.addressing).reverse()
    if "settings" in changed and section:
        for stage in list(graph.successors("settings")):
            if section not in read_of_settings(stage.split("@")[0]):
                graph.remove_edge("settings", stage)
    after = set().union(*(networkx.descendants(graph, stage) for stage in changed))
    return [changed, after - changed]


def read_of_settings(stage):
    """The sections of metrics/settings.json that a stage lists."""
    *_, last = PIPELINE[stage]["params"]
    return last["metrics/settings.json"]


def plain(stage_sets):
    return [{stage.split("@")[0] for stage in stages} for stages in stage_sets]


def change_parameter(key, value="changed", folder="."):
    path = Path(folder, "params.yaml")
    params = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    functools.reduce(dict.__getitem__, parents, params)[last] = value
    path.write_text(yaml.safe_dump(params))


def change_file(path):
    path.write_bytes(path.read_bytes() + b"\n")


def test_nothing_would_run_before_anything_changes(repo):
    assert reruns(repo) == [set(), set()]


@pytest.mark.parametrize("key", [key for key in leaves(PARAMS) if key != "export.quantizations"])
def test_a_parameter_reruns_what_the_page_says(repo, key):
    change_parameter(key)
    section = key.split(".")[0] if "format" not in row_of(key)[0] else None
    assert plain(reruns(repo, section)) == row_of(key)


@pytest.mark.parametrize(
    ("change", "names", "new"),
    [
        ("one less", ["int8"], set()),
        ("one more", ["int8", "int4", "int4_embedding"], {"int4_embedding"}),
    ],
)
def test_a_list_of_other_quantizations_leaves_those_that_stay_alone(repo, change, names, new):
    change_parameter("export.quantizations", names)
    with Repo() as other_stages:
        stages = reruns(other_stages)
    runs, may_run = plain(stages)
    assert [runs, may_run - runs] == TABLE[f"`export.quantizations`, {change}"]
    assert {stage.split("@")[1] for stage in stages[0] if "@" in stage} == new


def test_raw_data_reruns_what_the_page_says(repo):
    change_file(next(Path("data/raw").glob("*.jsonl")))
    assert plain(reruns(repo)) == TABLE["`data/raw`"]


def test_new_weights_in_a_directory_of_ones_own_are_noticed(repo, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"old")
    for key in ("model.preset", "model.watch"):
        change_parameter(key, str(tmp_path))
    with Repo() as with_own_base:
        with_own_base.commit("base", force=True)
        assert "base" not in reruns(with_own_base)[0]
        weights.write_bytes(b"retrained")
        assert "base" in reruns(with_own_base)[0]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("scripts/train.py", {"train"}),
        ("scripts/gate.py", set()),
        ("scripts/gemma_finetune/training/callbacks.py", {"base", "train"}),
        ("scripts/gemma_finetune/export/quantizer.py", {"quantize"}),
        ("scripts/gemma_finetune/inference/terminal.py", set()),
        ("scripts/gemma_finetune/__init__.py", set()),
        ("scripts/recipes/int8.json", {"quantize"}),
        ("scripts/recipes/int4_embedding.json", set()),
    ],
)
def test_a_file_of_code_reruns_the_stages_that_list_it_or_its_folder(repo, name, stages):
    """That they list what they import is for test_dag.py."""
    change_file(Path(name))
    assert plain(reruns(repo))[0] == stages


@pytest.mark.parametrize("suffix", ["1_2.xnnpack_cache", "mldrift_program_cache.bin"])
def test_a_cache_that_a_runtime_leaves_beside_a_bundle_reruns_nothing(repo, suffix):
    cache = Path(f"models/bundle/int8.litertlm_{suffix}")
    cache.touch()
    try:
        assert reruns(repo) == [set(), set()]
    finally:
        cache.unlink()


def gate(clone, ok):
    """CI's own command, run as GitHub's runner does."""
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["steps"]
    command = next(step["run"] for step in steps if step.get("name") == GATE)
    return run(clone, "bash", "-e", "-c", command.replace(". .venv/bin/activate", ""), ok=ok)


@pytest.mark.parametrize("pulled", [True, False])
def test_cis_gate_fails_where_lock_and_parameters_or_code_disagree(stand_ins, tmp_path, pulled):
    """`dvc repro --dry` succeeds where stages would run, unless what they read is missing."""
    clone = shutil.copytree(stand_ins, tmp_path / "clone")
    if not pulled:
        shutil.rmtree(clone / "models")
        shutil.rmtree(clone / ".dvc/cache")
    gate(clone, ok=True)
    change_parameter("lora.rank", 16, folder=clone)
    gate(clone, ok=False)
    git(clone, "checkout", "-q", ".")
    change_file(clone / "scripts/check.py")
    gate(clone, ok=False)
