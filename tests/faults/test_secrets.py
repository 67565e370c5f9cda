"""Secrets in the environment reach nothing that a run leaves or says. The run: `reproduced` of
tests/conftest.py.
"""

import subprocess

from clones import SECRETS, git


def leaks(clone, *said):
    """Where a secret stands: files (DVC's cache and folders among them), Git's objects, what was
    said.
    """
    places = {
        str(path.relative_to(clone)): path.read_bytes()
        for path in clone.rglob("*")
        if path.is_file()
    }
    objects = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    places["Git's objects"] = subprocess.run(
        objects, cwd=clone, capture_output=True, check=True
    ).stdout
    places["what was said"] = "".join(said).encode()
    return {
        place
        for place, content in places.items()
        for secret in SECRETS.values()
        if secret.encode() in content
    }


def test_no_secret_is_in_anything_that_a_run_of_all_stages_leaves_or_says(reproduced):
    clone, output = reproduced
    assert (clone / "models/bundle/int8.json").is_file() and (clone / "metrics/report.md").is_file()
    assert leaks(clone, output) == set()


def test_the_search_finds_one_where_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text(f"the key is {SECRETS['KAGGLE_KEY']}\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "notes")
    assert leaks(tmp_path, SECRETS["HF_TOKEN"]) == {"notes.txt", "Git's objects", "what was said"}
