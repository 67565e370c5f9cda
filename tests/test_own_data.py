"""A person's own data: once DVC tracks it, experiments read it wherever they run."""

import re
import shlex
import shutil

import pytest
import yaml

import readme
from clones import git, run

pytestmark = pytest.mark.slow

ROW = '{"instruction": "Translate to French", "output": "Bonjour"}\n'


@pytest.fixture
def clone(stand_ins, tmp_path):
    clone = shutil.copytree(stand_ins, tmp_path / "clone")
    for key, value in {"user.name": "test", "user.email": "test@example.org"}.items():
        git(clone, "config", key, value)
    (clone / "my").mkdir()
    return clone


def locked_data(clone):
    """(path, digest) of the data that `validate` last read."""
    dep = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]["validate"]["deps"][0]
    return dep["path"], dep["md5"]


def test_a_folder_works_everywhere_once_it_is_added_or_outside(clone, tmp_path):
    """Before that, it is refused everywhere. One run of the queue for all: it takes its time."""
    outside = tmp_path / "outside"
    for folder in (clone / "my/chats", outside):
        folder.mkdir()
        (folder / "a.jsonl").write_text(ROW)
    experiment = "dvc exp run validate -S data.raw=my/chats".split()
    refusal = run(clone, *experiment, ok=False)
    assert "error: my/chats is tracked neither by DVC nor by Git" in refusal
    not_found = "No such file or directory: .*my/chats"
    assert re.search(not_found, run(clone, *experiment, "--temp", ok=False))
    run(clone, *experiment, "--name", "not-added", "--queue")

    run(clone, *re.search("`(dvc add .*?)`", refusal)[1].split())
    commit_data(clone)
    elsewhere = [*experiment[:-1], f"data.raw={outside}"]
    run(clone, *elsewhere, "--name", "outside-temporary", "--temp")
    run(clone, *elsewhere, "--name", "outside-queued", "--queue")
    run(clone, *experiment, "--name", "here")
    assert locked_data(clone)[0] == "my/chats"
    run(clone, *experiment, "--name", "temporary", "--temp")
    run(clone, *experiment, "--name", "queued", "--queue")
    assert re.search(not_found, run(clone, "dvc", "exp", "run", "--run-all"))

    experiments = set(run(clone, "dvc", "exp", "list", "--name-only").split())
    assert {"here", "temporary", "queued", "outside-temporary", "outside-queued"} <= experiments
    assert "not-added" not in experiments
    refs = run(clone, "git", "for-each-ref", "refs/exps", "--format=%(refname)").split()
    committed = {name for ref in refs for name in files_of(clone, ref)}
    assert "my/chats.dvc" in committed and "my/chats/a.jsonl" not in committed


def test_a_folder_that_was_pulled_in_part_stops_the_run(clone):
    (clone / "my/chats").mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (clone / "my/chats" / name).write_text(ROW)
    run(clone, "dvc", "add", "my/chats")
    run(clone, "dvc", "push", "my/chats.dvc")
    shutil.rmtree(clone / "my/chats")
    shutil.rmtree(clone / ".dvc/cache")
    run(clone, "dvc", "pull", "my/chats/a.jsonl")
    params = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(params.replace("raw: data/raw ", "raw: my/chats "))
    found = run(clone, "python", "scripts/validate.py", ok=False)
    assert "my/chats lacks 1 of the 2 files that my/chats.dvc tracks, such as b.jsonl" in found
    run(clone, *re.search("`(dvc pull .*?)`", found)[1].split())
    assert "2 rows read, 2 accepted" in run(clone, "python", "scripts/validate.py")


def test_columns_are_named_on_the_command_line(clone):
    (clone / "my/chats.csv").write_text("my_question,my_answer,when\nHi,Hello!,today\n")
    commit_data(clone)
    [command] = [line for line in readme.commands() if "++data.columns" in line]
    experiment = shlex.split(command.removesuffix("describe"))
    said = run(clone, *experiment, "-S", "data.raw=my/chats.csv", "validate")
    assert "1 rows read, 1 accepted" in said
    columns = yaml.safe_load((clone / "params.yaml").read_text())["data"]["columns"]
    assert columns == {"user": "my_question", "assistant": "my_answer"}


def commit_data(clone):
    git(clone, "add", "my")
    git(clone, "commit", "-qm", "My data")


def files_of(clone, ref):
    return run(clone, "git", "ls-tree", "-r", "--name-only", ref).split()


def test_data_from_elsewhere_follows_its_source(clone, tmp_path):
    source = tmp_path / "source.jsonl"
    source.write_text(ROW)
    run(clone, "dvc", "import-url", str(source), "my/chats.jsonl")
    commit_data(clone)
    reproduce = "dvc exp run validate -S data.raw=my/chats.jsonl".split()
    run(clone, *reproduce)
    before = locked_data(clone)

    source.write_text(ROW + ROW.replace("French", "Latin"))
    run(clone, "dvc", "update", "my/chats.jsonl.dvc")
    commit_data(clone)
    run(clone, *reproduce)
    assert locked_data(clone)[0] == "my/chats.jsonl" and locked_data(clone) != before


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("[data/raw,my]", "Cannot interpolate data of type 'list'"),
        ("my/*.jsonl", "No such file or directory: .*my/\\*.jsonl"),
        ("https://example.org/a.jsonl", "dependency 'https://example.org/a.jsonl' does not exist"),
    ],
)
def test_what_dvc_refuses_itself(clone, raw, says):
    """As docs/data.md says, with what to do instead."""
    output = run(clone, "dvc", "exp", "run", "validate", "-S", f"data.raw={raw}", ok=False)
    assert re.search(says, output)
