import pytest

from gemma_finetune.utils.cli import run
from gemma_finetune.utils.params import read_params

PIPELINE = """
stages:
  train:
    cmd: python scripts/train.py
    params: [lora, train.seed, metrics/settings.json: [train]]
  measure:
    matrix: {name: [a, b]}
    cmd: python scripts/measure.py ${item.name}
    params: [evaluate.seed]
"""
PARAMS = "lora: {rank: 5}\ntrain: {seed: 0, learning_rate: auto, save_every_steps: 10}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/settings.json").write_text('{"train": {"learning_rate": 0.1}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ends(monkeypatch, *changes, script="train.py", arguments=0):
    """Runs a script in which somebody makes these changes: (file, old text, new text)."""

    def main():
        for path, old, new in changes:
            text = path.read_text()
            assert text.count(old) == 1
            path.write_text(text.replace(old, new))

    monkeypatch.setattr("sys.argv", [f"scripts/{script}"])
    run(main, arguments)


def test_a_stage_whose_parameters_changed_while_it_ran_is_refused(folder, monkeypatch):
    says = r"params.yaml was changed while this stage ran \(lora: {'rank': 5}, now {'rank': 6}\)"
    with pytest.raises(SystemExit, match=says):
        ends(monkeypatch, (folder / "params.yaml", "rank: 5", "rank: 6"))


def test_what_dvc_records_from_another_file_is_watched_too(folder, monkeypatch):
    with pytest.raises(SystemExit, match="metrics/settings.json was changed while this stage ran"):
        ends(monkeypatch, (folder / "metrics/settings.json", "0.1", "0.2"))


@pytest.mark.parametrize(
    ("old", "new"), [("learning_rate: auto", "learning_rate: 0.3"), ("steps: 10", "steps: 99")]
)
def test_what_dvc_does_not_record_for_the_stage_may_change(folder, monkeypatch, old, new):
    ends(monkeypatch, (folder / "params.yaml", old, new))


def test_a_change_that_is_taken_back_is_none(folder, monkeypatch):
    path = folder / "params.yaml"
    ends(monkeypatch, (path, "rank: 5", "rank: 6"), (path, "rank: 6", "rank: 5"))


@pytest.mark.parametrize(
    ("script", "arguments"), [("measure.py", 0), ("chat.py", None), ("gate.py", 0)]
)
def test_other_stages_and_scripts_may_go_on(folder, monkeypatch, script, arguments):
    change = folder / "params.yaml", "rank: 5", "rank: 6"
    ends(monkeypatch, change, script=script, arguments=arguments)


def test_a_file_that_is_broken_at_the_end_is_no_proof(folder, monkeypatch):
    with pytest.raises(SystemExit, match="whether parameters changed .* cannot be told"):
        ends(monkeypatch, (folder / "params.yaml", "{rank: 5}", "{rank: "))


def test_without_a_pipeline_nothing_is_watched(folder, monkeypatch):
    (folder / "dvc.yaml").unlink()
    ends(monkeypatch, (folder / "params.yaml", "rank: 5", "rank: 6"))


def test_the_whole_file_can_be_read(folder):
    assert read_params()["lora"]["rank"] == 5
