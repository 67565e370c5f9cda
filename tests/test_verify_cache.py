import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

import verify_cache
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow

FILES = {"folder/a.txt": "a" * 100, "folder/b.txt": "b" * 100, "c.txt": "c" * 100}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache of a small repository whose dvc.lock has a folder of two files, and one more file.

    Three files and the folder's listing.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {make: {cmd: 'true', outs: [folder, c.txt]}}")
    with Repo.init(no_scm=True) as repo:
        (tmp_path / "folder").mkdir()
        for name, text in FILES.items():
            (tmp_path / name).write_text(text)
        repo.commit(force=True)
    return tmp_path / ".dvc/cache/files/md5"


def damage(cache, text):
    """Flips a bit in the cached file that holds `text`, as a disk does: size and date stay."""
    path = next(path for path in verify_cache.entries(cache) if path.read_text() == text)
    path.chmod(0o644)
    path.write_text(chr(ord(text[0]) ^ 1) + text[1:])
    return path


def verify(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["verify_cache.py", *options])
    verify_cache.main()


def test_a_sound_cache_passes(cache, monkeypatch, capsys):
    verify(monkeypatch)
    assert f"4 files in {cache}: each is what its name says" in capsys.readouterr().out


def test_damaged_files_are_named_with_what_they_hold(cache, monkeypatch, capsys):
    damaged = {damage(cache, FILES[name]): name for name in ("c.txt", "folder/b.txt")}
    with pytest.raises(UserError, match="2 of 4 files in .* are damaged: .* REMOVE=yes"):
        verify(monkeypatch)
    printed = capsys.readouterr().out
    for path, name in damaged.items():
        assert f"damaged: {path}: {name}\n" in printed and path.exists()


def test_what_dvc_add_tracks_is_not_promised_by_dvc_repro(cache, tmp_path, monkeypatch, capsys):
    (tmp_path / "raw").mkdir()
    for name in ("raw/rows.jsonl", "one.csv"):
        (tmp_path / name).write_text(name)
    with Repo() as repo:
        repo.add(["raw", "one.csv"])
    listing = next(path for path in cache.glob("??/*.dir") if "rows.jsonl" in path.read_text())
    damaged = {damage(cache, name): name for name in ("raw/rows.jsonl", "one.csv")}
    with pytest.raises(UserError):
        verify(monkeypatch)
    printed = capsys.readouterr().out
    for path, name in damaged.items():
        assert f"damaged: {path}: {name}, tracked by `dvc add`: `dvc repro` does not" in printed

    damage(cache, listing.read_text())
    with pytest.raises(UserError):
        verify(monkeypatch)
    printed = capsys.readouterr().out
    assert f"damaged: {listing}: raw, tracked by `dvc add`" in printed
    (unnamed,) = (path for path, name in damaged.items() if name == "raw/rows.jsonl")
    unknown = "neither in dvc.lock nor tracked by `dvc add` here"
    assert f"damaged: {unnamed}: {unknown}\n" in printed
    assert printed.endswith(
        f"{unknown}: perhaps files of raw, whose list of files is damaged, another person's or "
        "not in the cache; `dvc pull` brings them back\n"
    )


def test_what_belongs_to_no_output_is_said(cache, tmp_path, monkeypatch, capsys):
    (tmp_path / "dvc.lock").unlink()
    path = damage(cache, FILES["c.txt"])
    with pytest.raises(UserError):
        verify(monkeypatch)
    printed = capsys.readouterr().out
    assert printed == f"damaged: {path}: neither in dvc.lock nor tracked by `dvc add` here\n"


@pytest.mark.parametrize("lock", ["<<<<<<< HEAD\n", "stages: [\n", "stages: 3\n", ""])
def test_a_broken_lock_is_one_sentence(cache, tmp_path, monkeypatch, lock):
    (tmp_path / "dvc.lock").write_text(lock)
    with pytest.raises(UserError, match="DVC cannot read .*dvc.lock.* `git checkout`"):
        verify(monkeypatch)


def test_outside_a_repository_it_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path} is not in a DVC repository: run this where"):
        verify(monkeypatch)


def test_removed_when_asked_to(cache, monkeypatch, capsys):
    path = damage(cache, FILES["c.txt"])
    verify(monkeypatch, "--remove")
    assert not path.exists() and len(verify_cache.entries(cache)) == 3
    assert "`dvc checkout --relink`" in capsys.readouterr().out
    verify(monkeypatch)


def test_a_file_that_cannot_be_read_counts_as_damaged(cache, monkeypatch):
    monkeypatch.setattr(verify_cache.hashlib, "file_digest", read_error)
    with pytest.raises(UserError, match="4 of 4 files"):
        verify(monkeypatch)


def read_error(*_):
    raise OSError("Input/output error")


@pytest.fixture
def refused(cache, monkeypatch):
    """Two files of another person in the cache: the listing of the folder, and b.txt."""
    paths = [path for path in verify_cache.entries(cache) if path.suffix == ".dir"]
    paths += [path for path in verify_cache.entries(cache) if path.read_text() == "b" * 100]
    whole = verify_cache.hashlib.file_digest

    def digest(file, name):
        if Path(file.name) in paths:
            raise PermissionError("Permission denied")
        return whole(file, name)

    monkeypatch.setattr(verify_cache.hashlib, "file_digest", digest)
    return paths


def test_files_that_may_not_be_read_are_named_at_the_end(cache, refused, monkeypatch, capsys):
    with pytest.raises(UserError, match="2 of 4 files in .* may not be read: check who owns them"):
        verify(monkeypatch)
    printed = capsys.readouterr().out
    assert all(f"may not be read: {path}" in printed for path in refused)
    assert "damaged" not in printed


def test_a_file_of_another_person_is_never_removed(cache, refused, monkeypatch, capsys):
    """In a cache that is shared, it may be sound."""
    path = damage(cache, FILES["c.txt"])
    with pytest.raises(UserError, match="2 of 4 files in .* may not be read"):
        verify(monkeypatch, "--remove")
    printed = capsys.readouterr().out
    assert "1 of 4 files in" in printed and "damaged, and now removed" in printed
    assert not path.exists() and all(other.exists() for other in refused)
    path = damage(cache, FILES["folder/a.txt"])
    with pytest.raises(UserError, match="1 of 3 .* are damaged: .*; 2 of 3 .* may not be read"):
        verify(monkeypatch)


def test_a_folder_is_no_entry(cache, monkeypatch, capsys):
    (cache / "ab" / ("c" * 30)).mkdir(parents=True)
    verify(monkeypatch)
    assert f"4 files in {cache}: each is what its name says" in capsys.readouterr().out


def test_an_empty_cache_is_said_to_be_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    verify(monkeypatch)
    assert "md5 is empty: `dvc pull` or `dvc repro` fills it\n" in capsys.readouterr().out
