"""README.md against the code: its tables, tree and picture, the files it names, and its commands,
run as written.
"""

import ast
import csv
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import readme
from clones import git, run
from imports import ROOT, SCRIPTS

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
TEXT = readme.README.read_text()

# How commands begin that a test cannot run, and why; every other command of the README is run, in
# this order.
NOT_RUN = {
    "make test": "it is this",
    ". .venv/bin/activate": "the tests' own environment takes its place",
    "dvc exp run -S lora.rank=16": "minutes; test_pipeline.py runs it with another rank",
    "dvc queue start --jobs 2": "minutes; test_queue.py runs a queue of its own",
    "dvc exp run --pull --allow-missing -S lora.rank=16": "minutes; test_remote.py runs it up to what it fetches",
    "dvc exp run -S model.preset=hf://": "needs an account",
    '.venv/bin/pip install "jax[cuda12]==0.10.2"': "needs a GPU",
    "dvc push --run-cache": "test_remote.py",
    "dvc pull --run-cache": "test_remote.py",
    "dvc pull data/formatted": "test_remote.py",
    "git push origin task-int8@v1.0.0": "needs a server",
}
# What a reader puts in place of the README's own words.
FILLED_IN = {
    "make repro": "make -o .venv/installed repro",
    "dvc exp apply NAME": "dvc exp apply {experiment}",
    "dvc exp branch NAME rank-16": "dvc exp branch {experiment} rank-16",
    "gto register": "git commit -qam Remotes && gto register",
    "dvc artifacts get URL": "dvc artifacts get .",
}


def values(cell):
    return [yaml.safe_load(code) for code in re.findall(r"`([^`]+)`", cell)]


def test_the_table_of_parameters_has_every_key_of_params_yaml_with_its_default():
    shown = {}
    for names, defaults, advice in readme.table("parameter |"):
        assert advice
        shown |= dict(zip(values(names), values(defaults), strict=True))
    assert shown == dict(parameters(PARAMS, shown))


def parameters(node, shown, path=()):
    """Name and value of each parameter; a mapping that the table shows whole is one."""
    for key, value in node.items():
        name = ".".join((*path, key))
        if isinstance(value, dict) and name not in shown:
            yield from parameters(value, shown, (*path, key))
        else:
            yield name, value


@pytest.mark.parametrize("part", readme.PARTS)
def test_what_is_written_from_the_code_is_current(part):
    assert readme.written(part) == readme.PARTS[part](), "run `make readme`"


def test_every_file_and_folder_of_the_repository_has_its_place_in_the_tree():
    listed = TEXT.split("## Development")[1].split("```")[1]
    names = [name for line in listed.strip().splitlines() for name in line[:34].split()]
    assert [name for name in names if not (ROOT / name).exists()] == []
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    own_text = {
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "pyproject.toml",
        ".gitignore",
        ".dvcignore",
    }
    settings = {".dvc", ".pre-commit-config.yaml", "requirements.txt", "requirements.lock"}
    tops = {name.split("/")[0] for name in tracked} - own_text - settings
    assert {name.strip("/").split("/")[0] for name in names} >= tops


def code_strings(folder):
    """The string literals of our scripts, with … where something is filled in."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("message", [row[0] for row in readme.table("message |")])
def test_troubleshooting_quotes_real_messages(message):
    quoted, whose = re.fullmatch(r"`(.+)`(?: \((.+)\))?", message).groups()
    text = quoted.strip("… ")
    if whose:
        packages = {"DVC": ("dvc", "hydra", "dvc_data"), "Python": ("importlib",)}[whose]
        folders = [Path(importlib.util.find_spec(name).origin).parent for name in packages]
        assert any(text in file.read_text() for folder in folders for file in folder.rglob("*.py"))
    else:
        assert any(text in string for string in code_strings(SCRIPTS))


def test_every_link_and_every_path_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    words = {word.rstrip("/") for code in re.findall(r"`([^`\n]+)`", TEXT) for word in code.split()}
    tops = "data|metrics|models|scripts|tests|benchmarks|.dvc|.github"
    paths = [
        word
        for word in words
        if word.split("/")[0] in tops.split("|") and not re.search("[A-Z]{4}|[*…@]", word)
    ]
    lost = [path for path in {*links, *paths} if not (ROOT / path).exists() and not is_made(path)]
    assert links and len(paths) > 10 and lost == []


def is_made(path):
    """Whether a stage makes it, or it lies in a folder that one makes."""
    outs = [
        out
        for stage in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    ]
    made = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    made += [
        out.replace("${item.quantization}", name)
        for out in made
        for name in PARAMS["export"]["quantizations"]
    ]
    return any(
        f"{path}/".startswith(f"{out}/") or f"{out}/".startswith(f"{path}/")
        for out in [*made, ".dvc/cache"]
    )


def test_the_pinned_jax_of_the_gpu_page_is_the_one_installed():
    assert (
        re.search(r'"jax\[cuda12\]==([\d.]+)"', TEXT)[1] in (ROOT / "requirements.txt").read_text()
    )


def test_no_command_is_excused_that_the_readme_does_not_have():
    assert [
        start
        for start in NOT_RUN
        if not any(command.startswith(start) for command in readme.commands())
    ] == []


def test_every_parameter_that_a_command_sets_exists():
    names = [
        name for command in readme.commands() for name in re.findall(r"-S '?([\w.]+)=", command)
    ]
    assert len(names) > 5 and set(names) <= {name for name, _ in parameters(PARAMS, {})}


def test_the_commands_run_as_written(reproduced, tmp_path):
    clone = shutil.copytree(reproduced[0], tmp_path / "somewhere" / "clone", symlinks=True)
    git(clone, "commit", "-qam", "what the first experiment made")
    for key, value in {"user.name": "test", "user.email": "test@example.org"}.items():
        git(clone, "config", key, value)
    run(clone, "dvc", "push")
    run(clone, "dvc", "exp", "run", "-S", "check.min_runtime_agreement=0.01", "--name", "mine")
    for command in readme.commands():
        if not command.startswith(tuple(NOT_RUN)):
            run(clone, "bash", "-ec", filled_in(command).format(experiment="mine"))


def filled_in(command):
    for words, replacement in FILLED_IN.items():
        command = command.replace(words, replacement) if command.startswith(words) else command
    return command


def test_the_ladder_is_that_of_the_committed_run():
    measured = list(csv.DictReader((ROOT / "metrics/ladder.csv").open()))
    shown = readme.table("rung |")
    assert [row[0] for row in shown] == [row["rung"] for row in measured]
    for (_, exact, perplexity, kl, megabytes), row in zip(shown, measured, strict=True):
        interval = [
            f"{float(row[key]):.3f}"
            for key in ("exact_match", "exact_match_low", "exact_match_high")
        ]
        assert re.findall(r"[\d.]+", exact) == interval
        assert perplexity == f"{float(row['perplexity']):.4g}" and float(kl) == float(
            f"{float(row['kl']):.2g}"
        )
        assert megabytes == f"{int(row['bytes']) / 1e6:.2f}"
