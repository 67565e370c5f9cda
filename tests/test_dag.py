"""dvc.yaml says exactly what each stage reads: held against the imports, the parameters and the
outputs.
"""

import ast
import re
import subprocess
import sys

import pytest
import yaml
from gto.constants import check_string_is_valid

from bundle import NOT_IN_IT, read_params
from gemma_finetune.auto import KEYS
from imports import ROOT, SCRIPTS, has_code, imported_files

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
CHOSEN = "metrics/settings.json"
NAMES = (
    "validate convert dedup base format settings describe train "
    "merge tflite quantize bundle measure_float measure evaluate check report"
).split()


def listed(stage, kind):
    """The paths or keys of a stage's `deps`, `outs`, ...; an entry may be a mapping {path:
    options}.
    """
    return [
        entry if isinstance(entry, str) else next(iter(entry))
        for entry in STAGES[stage].get(kind, [])
    ]


def listed_params(stage):
    """{file: keys} of a stage's parameters."""
    found = {"params.yaml": [], CHOSEN: []}
    for entry in STAGES[stage].get("params", []):
        if isinstance(entry, dict):
            for file, keys in entry.items():
                found[file] += keys
        else:
            found["params.yaml"].append(entry)
    return found


def options_of(stage, kind):
    """What is said of each of a stage's outs, metrics or plots beside its path."""
    return [
        next(iter(entry.values())) if isinstance(entry, dict) else {}
        for entry in STAGES[stage].get(kind, [])
    ]


def loaded_sections(path):
    """The sections of params.yaml that a file reads: named in a call of load_section, or in its
    SECTIONS.
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_section":
            if isinstance(node.args[0], ast.Constant):
                yield node.args[0].value
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_quantizations":
            yield "export"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_value":
            if isinstance(node.args[0], ast.Constant) and path.name != "config.py":
                yield node.args[0].value.split(".")[0]
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SECTIONS":
            names = node.value.keys if isinstance(node.value, ast.Dict) else node.value.elts
            yield from (name.value for name in names)


def test_there_are_these_stages_and_each_says_what_it_does():
    assert sorted(STAGES) == sorted(NAMES)
    assert all(stage.get("desc") for stage in STAGES.values())


def code_deps(stage):
    """The files and folders of code that a stage lists, recipes of a matrix apart."""
    return [dep for dep in listed(stage, "deps") if dep.startswith("scripts/") and "$" not in dep]


@pytest.mark.parametrize("stage", NAMES)
def test_code_deps_cover_every_file_that_is_imported_or_read_and_nothing_else(stage):
    read = [file for file in imported_files(SCRIPTS / f"{stage}.py") if needs_a_dep(file)]
    deps = code_deps(stage)
    assert [file for file in read if not any(covers(dep, file) for dep in deps)] == []
    assert [dep for dep in deps if not any(covers(dep, file) for file in read)] == []
    assert len(deps) <= 8 and len(set(deps)) == len(deps)


def needs_a_dep(file):
    return not file.endswith("__init__.py") or has_code(ROOT / file)


def covers(dep, file):
    return file == dep or file.startswith(f"{dep}/")


@pytest.mark.parametrize("stage", NAMES)
def test_a_stage_is_run_as_a_plain_script(stage):
    """No PYTHONPATH, no install: a queued experiment must run the code of its own snapshot."""
    assert re.fullmatch(
        rf"python scripts/{stage}\.py( \$\{{item\.quantization\}})?", STAGES[stage]["cmd"]
    )


@pytest.mark.parametrize("stage", NAMES)
def test_parameters_exist_and_belong_to_sections_the_stage_reads(stage):
    code = [ROOT / path for path in imported_files(SCRIPTS / f"{stage}.py") if path.endswith(".py")]
    read = {section for path in code for section in loaded_sections(path)}
    params = listed_params(stage)
    for key in params["params.yaml"]:
        section, *rest = key.split(".")
        assert section in read, f"{stage} lists {key} but never loads section {section}"
        assert not rest or rest[0] in PARAMS[section]
    assert read == {key.split(".")[0] for keys in params.values() for key in keys}


@pytest.mark.parametrize("stage", NAMES)
def test_what_may_be_auto_is_read_as_it_was_resolved(stage):
    """By the file that `settings` writes: so the resolved value decides what runs again.

    `bundle` and `report`, which record all settings, list whole sections of both files.
    """
    params = listed_params(stage)
    alone = {f"{section}.{key}" for section, keys in KEYS.items() for key in keys}
    if stage not in ("settings", "format"):
        assert not alone & set(params["params.yaml"])
    assert set(params[CHOSEN]) <= set(KEYS)


def test_the_bundle_s_manifest_holds_the_parameters_that_the_stage_lists(monkeypatch):
    monkeypatch.chdir(ROOT)
    manifest = read_params()
    assert "auto" not in [manifest[name][key] for name in ("model", "train") for key in KEYS[name]]
    found = {f"{section}.{key}" for section, values in manifest.items() for key in values}
    params = listed_params("bundle")
    keys = params["params.yaml"]
    whole_sections = {
        f"{section}.{key}" for section in PARAMS if section in keys for key in PARAMS[section]
    }
    chosen = {f"{section}.{key}" for section in params[CHOSEN] for key in KEYS[section]}
    named = {key for key in keys if "." in key} | chosen
    assert found == (whole_sections - set(NOT_IN_IT)) | named


def test_metrics_and_plots_live_in_git_and_models_and_data_in_the_cache():
    for stage, content in STAGES.items():
        for kind in ("outs", "metrics", "plots"):
            for entry in content.get(kind, []):
                path = entry if isinstance(entry, str) else next(iter(entry))
                in_git = not isinstance(entry, str) and entry[path].get("cache") is False
                assert in_git == path.startswith("metrics/"), f"{stage}: {path}"
                assert not isinstance(entry, dict) or "persist" not in entry[path], (
                    "persist turns the run cache off"
                )


def test_one_small_file_is_a_metric():
    metrics = {stage: listed(stage, "metrics") for stage in STAGES if listed(stage, "metrics")}
    assert metrics == {"check": ["metrics/summary.json"]}


def test_every_stage_but_the_report_keeps_its_run_cache():
    """DVC 3.67 stores no run of a stage with a `cache: false` out; under `metrics` and `plots` it
    does.
    """
    uncached = [
        stage
        for stage in STAGES
        for options in options_of(stage, "outs")
        if options.get("cache") is False
    ]
    assert set(uncached) == {"report"}


def test_what_is_under_models_goes_to_the_remote_of_models():
    for stage in STAGES:
        for path, options in zip(listed(stage, "outs"), options_of(stage, "outs"), strict=True):
            assert options.get("remote") == ("models" if path.startswith("models/") else None)


def test_no_interpolation_hides_in_params():
    assert "${" not in (ROOT / "params.yaml").read_text()


def test_nothing_that_stages_make_can_be_committed():
    outs = [
        o
        for stage in STAGES
        for o in listed(stage, "outs")
        if not o.startswith("metrics/") and "$" not in o
    ]
    done = subprocess.run(
        ["git", "check-ignore", *outs], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.stdout.split() == outs


def test_chatting_with_the_bundle_imports_nothing_heavy():
    code = """
import runpy, sys
sys.path.insert(0, "scripts")
sys.argv = ["chat.py", "--help"]
try:
    runpy.run_path("scripts/chat.py", run_name="__main__")
except SystemExit as stop:
    heavy = {"keras", "tensorflow", "torch", "jax", "transformers", "litert_torch"}
    found = sorted(heavy & set(sys.modules))
    sys.exit(f"imported: {found}" if found else stop.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_scripts_say_how_to_run_them():
    for script in SCRIPTS.glob("*.py"):
        text = script.read_text()
        assert f"python scripts/{script.name}" in text.split('"""')[1], (
            f"{script.name}: the docstring lacks its command"
        )


def test_artifacts_are_outputs_of_stages_under_names_that_can_be_tagged():
    names = yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"]
    outs = [out for stage in STAGES for out in listed(stage, "outs")]
    made = {
        out.replace("${item.quantization}", name)
        for out in outs
        for name in PARAMS["export"]["quantizations"]
    }
    for name, artifact in names.items():
        assert check_string_is_valid(name) and artifact["path"] in made
        assert artifact["type"] == "model" and artifact["desc"]
