"""Small sound files of every kind are read; with a few bytes changed they are read or refused,
never anything else.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults import small_files
from faults.readers import READERS
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def sound(folder, tokenizer_path):
    """{name: content} of a sound file of every kind."""
    return small_files.all_kinds(folder, tokenizer_path)


@pytest.mark.parametrize("name", READERS)
def test_sound_files_are_read(sound, folder, name):
    (folder / name).write_bytes(sound[name])
    READERS[name](folder / name)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    place=st.floats(0, 1),
    cut=st.integers(0, 8),
    put=st.binary(max_size=8),
    near_start=st.booleans(),
)
@pytest.mark.parametrize("name", READERS)
def test_changed_bytes_are_read_or_refused(sound, folder, name, place, cut, put, near_start):
    content = sound[name]
    start = int(place * min(len(content), 256 if near_start else len(content)))
    (folder / name).write_bytes(content[:start] + put + content[start + cut :])
    try:
        READERS[name](folder / name)
    except UserError as error:
        assert str(folder) in str(error)
