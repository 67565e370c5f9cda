import pytest

from gemma_finetune.config import load_quantizations, load_section
from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.params import read_params


def change(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def stage(monkeypatch, main, arguments=0):
    """How a script that calls `main` ends."""
    monkeypatch.setattr("sys.argv", ["stage.py"])
    run(main, arguments)


@pytest.fixture
def params(write_params):
    return write_params({"lora.rank": 5, "export.quantizations": ["int8"]})


def test_a_stage_whose_parameters_changed_while_it_ran_is_refused(params, monkeypatch):
    def main():
        load_section("lora", LoRAConfig, str(params))
        change(params, '"rank": 5', '"rank": 6')

    with pytest.raises(SystemExit, match="was changed while this stage ran: lora.rank: 5, now 6. "):
        stage(monkeypatch, main)


def test_what_the_stage_did_not_read_may_change(params, monkeypatch):
    def main():
        load_quantizations(str(params))
        change(params, '"rank": 5', '"rank": 6')
        change(params, '"cache_length": ', '"cache_length": 1')

    stage(monkeypatch, main)


def test_a_change_that_is_taken_back_is_none(params, monkeypatch):
    def main():
        load_section("lora", LoRAConfig, str(params))
        change(params, '"rank": 5', '"rank": 6')
        change(params, '"rank": 6', '"rank": 5')

    stage(monkeypatch, main)


def test_a_value_read_alone_is_watched(params, monkeypatch):
    def main():
        load_quantizations(str(params))
        change(params, '["int8"]', '["int4"]')

    with pytest.raises(SystemExit, match=r"export.quantizations: \['int8'\], now \['int4'\]"):
        stage(monkeypatch, main)


def test_a_chat_or_another_script_with_options_may_go_on(params, monkeypatch):
    def main():
        load_section("lora", LoRAConfig, str(params))
        change(params, '"rank": 5', '"rank": 6')

    stage(monkeypatch, main, arguments=None)


def test_the_whole_file_can_be_read(params):
    assert read_params(str(params))["lora"]["rank"] == 5
