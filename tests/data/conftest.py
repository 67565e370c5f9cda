"""What the tests of the data stages share."""

import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.readers import read_file
from gemma_finetune.data.shared_text import (
    SharedText,
)


@pytest.fixture(scope="session")
def nothing_shared(tmp_path_factory) -> str:
    """The path of a shared_text.npz of data whose rows share nothing."""
    path = tmp_path_factory.mktemp("nothing") / "shared_text.npz"
    SharedText(20, np.zeros(0, np.uint32)).save(path)
    return str(path)


@pytest.fixture
def params(write_params, tokenizer_path):
    """Parameters in a folder with the tokenizer. Call it again with changes."""

    def write(changes):
        limits = {"data.max_lost_fraction": 0.5}
        path = write_params(limits | changes)
        base = path.parent / "models" / "base"
        base.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tokenizer_path, base / "tokenizer.model")

    write({})
    return write


@pytest.fixture
def config(write_params):
    """The data section of the default parameters."""
    write_params({})
    return load_section("data", DataConfig)


@pytest.fixture
def read_content(tmp_path):
    """Writes a file, and returns its rows: [(file, number, value), …]."""

    def write_and_read(content, name="data.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = read_file(path)
        return [
            (file.removeprefix(f"{tmp_path.as_posix()}/"), number, orjson.loads(row))
            for file, number, row in found
        ]

    return write_and_read


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A DVC repository with one data file."""
    monkeypatch.chdir(tmp_path)
    for folder in (".dvc", "data/raw/more"):
        Path(folder).mkdir(parents=True)
    Path("data/raw/a.jsonl").write_text("{}\n")
    Path("data/raw/more/b.jsonl").write_text("{}\n")
    return tmp_path
