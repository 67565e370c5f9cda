"""What is said before measuring starts."""

import re
from dataclasses import replace

import pytest

from gemma_finetune.evaluation.plan import Work, announce, seconds
from gemma_finetune.utils import machine
from gemma_finetune.utils.errors import UserError

REAL = 1e9  # bytes, of a 270M in float32
WORK = Work(
    passes=[REAL] * 4,
    steps=[REAL],
    answers=[REAL / 6] * 2,
    max_tokens=384,
    memory=2.5 * REAL,
    disk=1e7,
)


def times(said):
    """The two times of a plan, in seconds."""
    found = re.findall(r"(\d+) (seconds|minutes)", said)
    return [int(number) * {"seconds": 1, "minutes": 60}[unit] for number, unit in found]


def test_it_says_what_endless_answers_take(test_set, tmp_path, capsys):
    answers = len(test_set.asked_turns)
    likely, endless = (seconds(test_set, 262_144, WORK, n) for n in (10, answers * 384))
    assert endless - likely == pytest.approx(2 * (answers * 384 - 10) * REAL / 6 / 12e9)
    announce(test_set, 262_144, WORK, tmp_path)
    said = capsys.readouterr().out
    assert "; 10.0 MB of disk, 2.8 GB of memory; " in said
    assert times(said)[1] == pytest.approx(endless, abs=31)  # it says minutes


def test_a_disk_without_room_is_named_before_anything_is_measured(test_set, tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: the disk has .* free, and measuring writes"):
        announce(test_set, 262_144, replace(WORK, disk=1e18), tmp_path)


def test_memory_that_lacks_is_named_too(test_set, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "available_memory", lambda: 2_700_000_000)
    with pytest.raises(UserError, match="measuring takes about 2.8 GB of memory and 2.7 GB are"):
        announce(test_set, 262_144, WORK, tmp_path)
