"""The small files that others are made from by damage are sound themselves."""

import pytest

from faults import small_files
from faults.readers import READERS


@pytest.fixture
def sound(tmp_path, tokenizer_path):
    """{name: content} of a sound file of every kind."""
    return small_files.all_kinds(tmp_path, tokenizer_path)


@pytest.mark.parametrize("name", READERS)
def test_sound_files_are_read(sound, tmp_path, name):
    (tmp_path / name).write_bytes(sound[name])
    READERS[name](tmp_path / name)
