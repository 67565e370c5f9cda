"""The whole DAG in a temporary clone, with smaller settings, as its users run it: repro, chat,
experiments.
"""

import subprocess
import sys

import pytest

from clones import run, stages_run


def test_every_stage_runs_and_leaves_its_outputs(reproduced):
    clone, output = reproduced
    assert sorted(stages_run(output)) == sorted(
        "validate convert dedup format base train merge tflite quantize bundle evaluate check report".split()
    )
    for name in ("int8.task", "int8.litertlm", "int4.task", "int4.litertlm"):
        assert (clone / "models" / "bundle" / name).stat().st_size > 500_000
    assert run(clone, "dvc", "status").strip().endswith("up to date.")
    assert "Running stage" not in run(clone, "dvc", "repro")
    assert "models" not in run(clone, "git", "status", "--short")


def test_the_ladder_names_every_rung(reproduced):
    import json

    rungs = json.loads((reproduced[0] / "metrics" / "evaluate.json").read_text())
    assert set(rungs) >= {
        "base",
        "lora",
        "merged",
        "transformers",
        "tflite_float32",
        "task_int8",
        "litertlm_int4",
    }
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
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_a_change_of_rank_touches_neither_data_nor_base_and_going_back_trains_nothing(reproduced):
    clone, _ = reproduced
    before = (clone / "models" / "lora.npz").read_bytes()
    assert stages_run(run(clone, "dvc", "exp", "run", "-S", "lora.rank=4")) == [
        "train", "merge", "tflite", "quantize", "bundle", "evaluate", "check", "report",
    ]  # fmt: skip
    assert (clone / "models" / "lora.npz").read_bytes() != before
    back = run(clone, "dvc", "exp", "run", "-S", "lora.rank=8")
    assert stages_run(back) == [
        "report"
    ]  # report.md is no metric and no plot, so DVC caches no run of it: a second
    assert "is cached - skipping run" in back
    assert (clone / "models" / "lora.npz").read_bytes() == before


def test_fewer_quantizations_train_and_convert_nothing(reproduced):
    clone, _ = reproduced
    output = run(clone, "dvc", "exp", "run", "-S", "export.quantizations=[int8]")
    assert not {"train", "merge", "tflite", "base", "format"} & set(stages_run(output))
    run(clone, "dvc", "exp", "run", "-S", "export.quantizations=[int8,int4]")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("lora.rnak=3", "rnak"),
        ("+lora.rnak=3", "lora.rnak: no such parameter"),
        ("lora.rank=0", "lora.rank: input should be greater than or equal to 1; found 0"),
        ("train.learning_rate=fast", "train.learning_rate"),
        ("model.preset=gemma3_2b", "'gemma3_2b' is unknown"),
    ],
)
def test_a_mistake_is_refused_by_name_and_nothing_is_lost(reproduced, change, says):
    """DVC removes a stage's outs before it runs; back with the right settings, the cache has
    them.
    """
    clone, _ = reproduced
    before = {
        name: (clone / name).read_bytes() for name in ("params.yaml", "dvc.lock", "models/lora.npz")
    }
    output = run(clone, "dvc", "exp", "run", "-S", change, ok=False)
    assert says in output and "Traceback" not in output
    for name in ("params.yaml", "dvc.lock"):
        (clone / name).write_bytes(before[name])
    assert "train" not in stages_run(run(clone, "dvc", "repro", "train"))
    assert (clone / "models" / "lora.npz").read_bytes() == before["models/lora.npz"]


def test_a_small_learning_rate_survives_dvcs_way_of_writing_it(reproduced):
    clone, _ = reproduced
    run(clone, "dvc", "exp", "run", "-S", "train.learning_rate=0.00001", "train")
    assert "1e-05" in (clone / "params.yaml").read_text()
