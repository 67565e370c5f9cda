"""One run of the whole pipeline in a temporary clone, and what users do with it.

Every test that needs such a run is in this file, so that the run is made once.
"""

import csv
import io
import json
import shutil
import subprocess
import sys

import pytest

import readme
from clones import SECRETS, git, run, stages_run

pytestmark = pytest.mark.slow

STAGES = (
    "validate convert dedup base format settings describe train "
    "merge tflite quantize bundle measure_float measure evaluate check report"
).split()


def test_every_stage_runs_and_leaves_its_outputs(reproduced):
    clone, output = reproduced
    kept = set(STAGES) - set(stages_run(output))
    assert kept <= {"describe"}  # Git has what it writes, and the smaller settings change no data
    for name in ("int8.task", "int8.litertlm", "int4.task", "int4.litertlm"):
        assert (clone / "models" / "bundle" / name).stat().st_size > 500_000
    assert run(clone, "dvc", "status").strip().endswith("up to date.")
    assert "Running stage" not in run(clone, "dvc", "repro")
    assert "models" not in run(clone, "git", "status", "--short")


def test_the_ladder_names_every_rung(reproduced):
    rungs = json.loads((reproduced[0] / "metrics" / "evaluate.json").read_text())
    expected = "base lora merged transformers tflite_float32 task_int8 litertlm_int4"
    assert set(rungs) >= set(expected.split())
    assert rungs["transformers"]["max_logit_diff"] < 1e-3


@pytest.mark.parametrize("backend", ["bundle", "tflite", "keras"])
def test_the_model_chats_on_every_backend(reproduced, backend):
    clone, _ = reproduced
    answer = run(
        clone, "python", "scripts/chat.py", "--backend", backend, "--prompt", "Turn on the light"
    )
    assert "Traceback" not in answer and "<end_of_turn>" not in answer


def test_the_chat_reads_standard_input(reproduced):
    clone, _ = reproduced
    done = subprocess.run(
        [sys.executable, "scripts/chat.py"],
        cwd=clone,
        input="Turn on the light\nAnd the music\n",
        text=True,
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_the_metrics_are_few_and_the_gate_agrees_with_them(reproduced):
    clone, _ = reproduced
    table = csv.reader(io.StringIO(run(clone, "dvc", "exp", "show", "--csv")))
    assert len(next(table)) < 200  # parameters, deps, and at most 12 figures
    shown = json.loads(run(clone, "dvc", "metrics", "show", "--json"))
    assert list(shown[""]["data"]) == ["metrics/summary.json"]
    verdict = json.loads((clone / "metrics/summary.json").read_text())["gate"]
    run(clone, "python", "scripts/gate.py", ok=verdict == "pass")


def test_plots_show_what_is_a_plot_and_complain_of_nothing(reproduced):
    """JSON files are under `plots` for the run cache alone: without a list, DVC draws nothing."""
    clone, _ = reproduced
    output = run(clone, "dvc", "plots", "show")
    assert "DVC failed" not in output and "WARNING" not in output
    page = (clone / "dvc_plots/index.html").read_text()
    assert "metrics/ladder.png" in page and "evaluate.json" not in page


def test_another_rank_trains_again_and_going_back_restores_the_adapter(reproduced):
    """test_run_cache.py has the stages after it."""
    clone, _ = reproduced
    before = (clone / "models/lora.npz").read_bytes()
    changed = run(clone, "dvc", "exp", "run", "-S", "lora.rank=4", "train")
    assert stages_run(changed) == ["train"]
    assert (clone / "models/lora.npz").read_bytes() != before
    back = run(clone, "dvc", "exp", "run", "-S", "lora.rank=8", "train")
    assert stages_run(back) == [] and "is cached - skipping run" in back
    assert (clone / "models/lora.npz").read_bytes() == before


MISTAKES = {
    "lora.rnak=3": "rnak",
    "+lora.rnak=3": "lora.rnak: no such parameter",
    "lora.rank=0": "lora.rank: input should be greater than or equal to 1; found 0",
    "train.learning_rate=fast": "train.learning_rate",
    "model.preset=gemma3_2b": "'gemma3_2b' is unknown",
}


def test_mistakes_are_refused_by_name_and_nothing_is_lost(reproduced):
    """DVC removes a stage's outs before it runs; with the right settings, the cache has them."""
    clone, _ = reproduced
    before = {
        name: (clone / name).read_bytes() for name in ("params.yaml", "dvc.lock", "models/lora.npz")
    }
    for change, says in MISTAKES.items():
        output = run(clone, "dvc", "exp", "run", "-S", change, ok=False)
        assert says in output and "Traceback" not in output
        for name in ("params.yaml", "dvc.lock"):
            (clone / name).write_bytes(before[name])
    assert "train" not in stages_run(run(clone, "dvc", "repro", "train"))
    assert (clone / "models" / "lora.npz").read_bytes() == before["models/lora.npz"]


def test_a_small_learning_rate_survives_dvcs_way_of_writing_it(reproduced):
    clone, _ = reproduced
    before = {name: (clone / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    run(clone, "dvc", "exp", "run", "-S", "train.learning_rate=0.00001", "settings")
    assert "1e-05" in (clone / "params.yaml").read_text()
    settings = json.loads((clone / "metrics/settings.json").read_text())
    assert settings["train"]["learning_rate"] == 0.00001
    for name, content in before.items():
        (clone / name).write_bytes(content)
    run(clone, "dvc", "checkout")


def test_the_commands_of_readme_and_docs_run_as_written(reproduced, tmp_path):
    clone = shutil.copytree(reproduced[0], tmp_path / "somewhere" / "clone", symlinks=True)
    git(clone, "commit", "-qam", "what the first experiment made")
    for key, value in {"user.name": "test", "user.email": "test@example.org"}.items():
        git(clone, "config", key, value)
    run(clone, "dvc", "push")
    run(clone, "dvc", "exp", "run", "-S", "check.min_runtime_agreement=0.01", "--name", "mine")
    for command in readme.commands_to_run():
        run(clone, "bash", "-ec", command)


def test_no_secret_is_in_anything_that_a_run_of_all_stages_leaves_or_says(reproduced):
    clone, output = reproduced
    assert (clone / "models/bundle/int8.json").is_file()
    assert leaks(clone, output) == set()


def test_the_search_for_secrets_finds_one_where_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text(f"the key is {SECRETS['KAGGLE_KEY']}\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "notes")
    assert leaks(tmp_path, SECRETS["HF_TOKEN"]) == {
        "notes.txt",
        "Git's objects",
        "what was printed",
    }


def leaks(clone, *said):
    """Where a secret is: files (DVC's cache among them), Git's objects, what was printed."""
    places = {}
    for path in clone.rglob("*"):
        if path.is_file():
            places[str(path.relative_to(clone))] = path.read_bytes()
    objects = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    done = subprocess.run(objects, cwd=clone, capture_output=True, check=True, timeout=600)
    places["Git's objects"] = done.stdout
    places["what was printed"] = "".join(said).encode()
    secrets = [secret.encode() for secret in SECRETS.values()]
    return {
        place for place, content in places.items() if any(secret in content for secret in secrets)
    }
