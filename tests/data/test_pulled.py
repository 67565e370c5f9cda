"""Data that DVC tracks and that is not there stops the stage and is named."""

import json
import os
from pathlib import Path

import pytest
import yaml

from data_stages import refusal
from gemma_finetune.data.loader import find_files

LISTING = "ab" * 16 + ".dir"


def track(path, **out):
    name = Path(path).name
    content = {"outs": [{"md5": "0" * 32, "size": 1, "hash": "md5", "path": name, **out}]}
    Path(f"{path}.dvc").write_text(yaml.safe_dump(content))


def test_what_is_all_there_is_read(repo):
    track("data/raw/a.jsonl")
    track("data/raw/more", nfiles=1)
    track("data/raw")
    Path("data.dvc").write_text("outs:\n- path: data\n  nfiles: 2\n")
    assert [path.name for path in find_files("data/raw")] == ["a.jsonl", "b.jsonl"]
    assert [path.name for path in find_files("data/raw/a.jsonl")] == ["a.jsonl"]


@pytest.mark.parametrize(
    "path", ["data/raw/c.jsonl", "data/raw/new", "data/raw/more/c.parquet", "data/raw/more/d"]
)
def test_a_dvc_file_without_its_data(repo, path):
    track(path)
    message = refusal()
    assert f"{path} is missing, but {path}.dvc tracks it" in message
    assert f"`dvc pull {path}.dvc`" in message


@pytest.mark.parametrize("tracked", ["elsewhere", "elsewhere/raw"])
def test_a_folder_that_was_not_pulled(repo, tracked):
    Path("elsewhere").mkdir(exist_ok=tracked != "elsewhere")
    if tracked == "elsewhere":
        Path("elsewhere").rmdir()
    track(tracked)
    assert f"`dvc pull {tracked}.dvc`" in refusal("elsewhere/raw")


def test_a_file_that_was_not_pulled(repo):
    track("data/chats.csv")
    assert "data/chats.csv is missing" in refusal("data/chats.csv")


def test_a_folder_that_was_pulled_in_part(repo):
    track("data/raw", nfiles=3)
    assert "data/raw has 2 of the 3 files that data/raw.dvc tracks" in refusal()


@pytest.mark.parametrize("name", [".DS_Store", "README.md", "a.jsonl~", "Thumbs.db", ".cache/x"])
def test_files_that_are_no_data_are_not_counted(repo, name):
    Path("data/raw", name).parent.mkdir(exist_ok=True)
    Path("data/raw", name).write_text("{}")
    track("data/raw", nfiles=3)
    assert "data/raw has 2 of the 3 files that data/raw.dvc tracks" in refusal()


def test_files_that_are_no_data_may_be_tracked(repo):
    Path("data/raw/README.md").write_text("about")
    size = sum(file.stat().st_size for file in Path("data/raw").rglob("*") if file.is_file())
    track("data/raw", nfiles=3, size=size)
    assert [path.name for path in find_files("data/raw")] == ["a.jsonl", "b.jsonl"]


def write_listing(cache, *names):
    path = Path(cache, LISTING[:2], LISTING[2:])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([{"md5": "0" * 32, "relpath": name} for name in names]))
    track("data/raw", nfiles=len(names), md5=LISTING)


@pytest.mark.parametrize(
    "cache", [".dvc/cache/files/md5", ".dvc/cache", "elsewhere/files/md5", "../other/files/md5"]
)
def test_the_list_in_the_cache_names_what_is_missing(repo, cache):
    if not cache.startswith(".dvc"):
        folder = cache.removesuffix("/files/md5")
        Path(".dvc/config.local").write_text(f"[cache]\n    dir = ../{folder}\n")
    Path("data/raw/README.md").write_text("")  # tracked, and no data
    write_listing(cache, "README.md", "a.jsonl", "more/b.jsonl")
    assert len(find_files("data/raw")) == 2
    Path("data/raw/README.md").unlink()
    assert len(find_files("data/raw")) == 2

    Path("data/raw/own.jsonl").write_text("{}\n")
    Path("data/raw/more/b.jsonl").unlink()
    message = refusal()
    assert message.startswith("data/raw lacks 1 of the 3 files that data/raw.dvc tracks, such as ")
    assert "more/b.jsonl: fetch the others with `dvc pull data/raw.dvc`" in message
    assert "such as more/b.jsonl" in refusal("data/raw/more/b.jsonl")
    assert len(find_files("data/raw/a.jsonl")) == 1  # nothing of it is missing
    assert "data/raw lacks 1 of the 3 files" in refusal(os.path.abspath("data/raw"))


@pytest.mark.parametrize(
    ("dvc_file", "out"),
    [
        ("raw.dvc", {"wdir": "data", "path": "raw/c.jsonl"}),
        ("more.dvc", {"wdir": "data/raw", "path": "c.jsonl"}),
        ("c.dvc", {"path": "data/raw/c.jsonl"}),
        ("data/c.dvc", {"path": "raw/c.jsonl"}),
        ("sets/german/c.dvc", {"wdir": "../../data/raw", "path": "c.jsonl"}),
        ("data/raw/more/c.dvc", {"wdir": "..", "path": "c.jsonl"}),
    ],
)
def test_a_dvc_file_anywhere_may_track_data_of_data_raw(repo, dvc_file, out):
    wdir = out.pop("wdir", None)
    Path(dvc_file).parent.mkdir(parents=True, exist_ok=True)
    content = {"outs": [out]} | ({"wdir": wdir} if wdir else {})
    Path(dvc_file).write_text(yaml.safe_dump(content))
    message = refusal()
    assert f"data/raw/c.jsonl is missing, but {dvc_file} tracks it" in message
    Path("linked").symlink_to("data/raw")
    assert "data/raw/c.jsonl is missing" in refusal("linked")
    assert len(find_files("data/raw/a.jsonl")) == 1
    Path("data/raw/c.jsonl").write_text("{}\n")
    assert len(find_files("data/raw")) == 3


def test_other_data_and_other_folders_do_not_matter(repo):
    track("other")
    track("data/rawer.jsonl")
    Path("data/raw/remote.dvc").write_text("outs: [{path: 's3://bucket/data/raw/x'}]\n")
    for folder in (".venv/lib", "env", "node_modules"):
        Path(folder).mkdir(parents=True)
        Path(folder, "c.dvc").write_text("outs: [{path: c}]\nwdir: ../data/raw\n")
    Path(".venv/lib/c.dvc").write_text("outs: [{path: c}]\nwdir: ../../data/raw\n")
    Path("env/pyvenv.cfg").write_text("")
    assert len(find_files("data/raw")) == 2


@pytest.mark.parametrize("text", ["outs: 3", "[]", "outs: {path: x}", "wdir: 3"])
def test_a_dvc_file_of_another_kind_does_not_matter(repo, text):
    Path("data/raw/odd.dvc").write_text(text)
    assert len(find_files("data/raw")) == 2
