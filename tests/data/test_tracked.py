"""Data that DVC does not watch, or that Git would get, stops the stage and is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_stages import refusal
from gemma_finetune.data.loader import find_files


def test_a_name_without_a_file(repo):
    assert "no such file or folder" in refusal("data/rwa")


def test_a_linked_folder(repo):
    Path("store").mkdir()
    Path("store/c.jsonl").write_text("{}\n")
    Path("data/raw/linked").symlink_to(repo / "store")
    message = refusal()
    assert "data/raw/linked is a link to a folder" in message and "copy the folder" in message


def test_a_linked_folder_is_named_as_data_raw_takes_it(repo):
    Path("data/other").mkdir(parents=True)
    Path("data/raw").mkdir(exist_ok=True)
    Path("data/raw/d").symlink_to("../other")
    assert "(../other), " in refusal() and "or name data/other in data.raw" in refusal()


def test_a_linked_file_is_read_and_a_dead_link_is_named(repo):
    Path("c.jsonl").write_text("{}\n")
    Path("data/raw/c.jsonl").symlink_to(repo / "c.jsonl")
    assert len(find_files("data/raw")) == 3
    Path("c.jsonl").unlink()
    assert "data/raw/c.jsonl is a link to" in refusal() and "does not exist" in refusal()


def test_links_that_are_not_data_do_not_matter(repo):
    Path("data/raw/.#a.jsonl").symlink_to("user@host.123")  # how Emacs locks a file
    Path("data/raw/.cache").symlink_to(repo)
    assert len(find_files("data/raw")) == 2


def test_data_raw_may_be_a_link(repo):
    Path("linked").symlink_to(repo / "data/raw")
    assert len(find_files("linked")) == 2
    Path("dead").symlink_to(repo / "nothing")
    assert "dead is a link to" in refusal("dead")


@pytest.mark.parametrize(
    "ignore, pattern",
    [
        (".dvcignore", "b.jsonl"),
        (".dvcignore", "*.jsonl\n!a.jsonl"),
        (".dvcignore", "/data/raw/more/"),
        (".dvcignore", "data/**/b.*"),
        ("data/.dvcignore", "raw/more"),
        ("data/raw/more/.dvcignore", "# comment\n*"),
    ],
)
def test_a_file_that_dvc_ignores(repo, ignore, pattern):
    Path(ignore).write_text(pattern + "\n")
    assert "data/raw/more/b.jsonl is excluded by .dvcignore" in refusal()


@pytest.mark.parametrize(
    "ignore, pattern",
    [(".dvcignore", "*.tmp\n__pycache__\n/a.jsonl\n"), (".dvcignore", "*.jsonl\n!*.jsonl\n")],
)
def test_patterns_for_other_files_do_not_matter(repo, ignore, pattern):
    Path(ignore).write_text(pattern)
    assert len(find_files("data/raw")) == 2


def test_an_inner_dvcignore_has_the_last_word(repo):
    Path(".dvcignore").write_text("b.jsonl\n")
    Path("data/raw/.dvcignore").write_text("!b.jsonl\n")
    assert len(find_files("data/raw")) == 2


@pytest.fixture
def experiment(repo, monkeypatch):
    """`repo` as a Git repository, as a stage of `dvc exp run` sees it."""
    subprocess.run(["git", "init", "-q"], check=True, timeout=60)
    subprocess.run(["git", "add", "data"], check=True, timeout=60)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc")
    Path("my/chats").mkdir(parents=True)
    Path("my/chats/c.jsonl").write_text("{}\n")


def test_an_experiment_with_untracked_data_is_refused(experiment):
    assert "commit its .dvc file" in refusal("my/chat")
    assert len(find_files("data/raw")) == 2
    message = refusal("my/chats")
    assert message.startswith("my/chats is tracked neither by DVC nor by Git")
    assert "run `dvc add my/chats` and commit my/chats.dvc and my/.gitignore" in message

    Path("data/raw/new.jsonl").write_text("{}\n")
    assert "`dvc add data/raw/new.jsonl`" in refusal()


def test_what_git_ignores_or_does_not_see_is_no_danger(experiment, tmp_path_factory):
    Path("my/.gitignore").write_text("/chats\n")  # as `dvc add` does
    assert len(find_files("my/chats")) == 1
    outside = tmp_path_factory.mktemp("outside")
    (outside / "a.jsonl").write_text("{}\n")
    assert len(find_files(str(outside))) == 1


def test_without_an_experiment_untracked_data_is_read(experiment, monkeypatch):
    monkeypatch.delenv("DVC_EXP_BASELINE_REV")
    assert len(find_files("my/chats")) == 1


def test_files_outside_the_repository_are_not_dvcs_to_ignore(repo, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "a.jsonl").write_text("{}\n")
    (outside / ".dvcignore").write_text("*.jsonl\n")
    Path(".dvcignore").write_text("*.jsonl\n")
    assert len(find_files(str(outside))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern", ["b.jsonl", "/data/raw/more/", "data/raw/*", "!*.jsonl", "/b.*"]
)
def test_dvc_ignores_the_same_files(repo, pattern):
    subprocess.run(["rm", "-r", ".dvc"], check=True, timeout=60)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], check=True, timeout=60)
    Path(".dvcignore").write_text(pattern + "\n")
    command = [sys.executable, "-m", "dvc", "check-ignore", "data/raw/more/b.jsonl"]
    ignored = subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    if ignored:
        assert "excluded by .dvcignore" in refusal()
    else:
        assert len(find_files("data/raw")) == 2
