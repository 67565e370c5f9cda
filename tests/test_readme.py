"""README.md and docs/ against the code: tables, parts written from the code, paths, commands."""

import ast
import csv
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import readme
from imports import ROOT, SCRIPTS

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
TEXTS = {page: page.read_text(encoding="utf-8") for page in readme.PAGES}
README = TEXTS[readme.README]
MOST_BYTES = 12_288  # of README.md

OTHERS_CODE = {"DVC": ("dvc", "hydra", "dvc_data"), "Python": ("importlib",)}


def parameters(node: dict, whole: set[str], path: str = "") -> Iterator[tuple[str, object]]:
    """Name and value of each parameter. A mapping named in `whole` counts as one parameter."""
    for key, value in node.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and name not in whole:
            yield from parameters(value, whole, f"{name}.")
        else:
            yield name, value


def code_values(cell: str) -> list:
    return [yaml.safe_load(code) for code in re.findall(r"`([^`]+)`", cell)]


def test_the_first_page_stays_short():
    assert len(README.encode()) <= MOST_BYTES


def test_the_table_of_parameters_has_every_key_of_params_yaml_with_its_default():
    shown = {}
    for names, defaults, advice in readme.table("parameter |"):
        assert advice
        shown |= zip(code_values(names), code_values(defaults), strict=True)
    assert shown == dict(parameters(PARAMS, whole=set(shown)))


@pytest.mark.parametrize("part", readme.PARTS)
def test_what_is_written_from_the_code_is_current(part):
    _, make = readme.PARTS[part]
    assert readme.written(part) == make(), "run `make readme`"


def test_every_file_and_folder_at_the_top_has_its_line_in_the_layout():
    listing = TEXTS[readme.DEVELOPMENT].split("```")[1]
    listed = {line.split()[0].rstrip("/") for line in listing.strip().splitlines()}
    assert listed == {name.split("/")[0] for name in tracked_files()}


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    ).stdout.split()


@pytest.mark.parametrize("message", [row[0] for row in readme.table("message |")])
def test_troubleshooting_quotes_real_messages(message):
    quoted, whose = re.fullmatch(r"`(.+)`(?: \((.+)\))?", message).groups()
    text = quoted.strip("… ")
    if whose:
        assert any(text in source for source in installed_sources(OTHERS_CODE[whose]))
    else:
        assert any(text in string for string in string_literals(SCRIPTS))


def installed_sources(packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        folder = Path(importlib.util.find_spec(package).origin).parent
        for file in folder.rglob("*.py"):
            yield file.read_text()


def string_literals(folder: Path) -> Iterator[str]:
    """The string literals of the code in a folder, with … where something is filled in."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", "…") for part in node.values]
                yield "".join(part if isinstance(part, str) else "…" for part in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        if "://" not in link:
            name, _, heading = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not heading or heading in headings(target), link


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_every_path_in_the_text_exists_or_is_made_by_a_stage():
    paths = set(paths_in("\n".join(TEXTS.values())))
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists() and not is_made(path)] == []


def paths_in(text: str) -> Iterator[str]:
    """Words in backticks that name a place in this repository, but not `scripts/STAGE.py`."""
    tops = (
        "data",
        "docs",
        "metrics",
        "models",
        "scripts",
        "tests",
        "benchmarks",
        ".dvc",
        ".github",
    )
    for code in re.findall(r"`([^`\n]+)`", text):
        for word in code.split():
            placeholder = re.search(r"[A-Z]{4}|[*…@]", word)
            if "/" in word and word.split("/")[0] in tops and not placeholder:
                yield word.rstrip("/:")


def is_made(path: str) -> bool:
    """Whether a stage makes `path`, something in it, or a folder that it is in."""
    made = [".dvc/cache", "models/peft"]  # the second by a command on the page
    for stage in STAGES.values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                out = out if isinstance(out, str) else next(iter(out))
                names = PARAMS["export"]["quantizations"]
                made += [out.replace("${item.quantization}", name) for name in names]
    return any(f"{path}/".startswith(f"{out}/") or out.startswith(f"{path}/") for out in made)


def test_the_pinned_jax_of_the_gpu_page_is_the_one_installed():
    pinned = re.search(r'"jax\[cuda12\]==([\d.]+)"', "".join(TEXTS.values()))[1]
    assert f"jax=={pinned}\n" in (ROOT / "requirements.txt").read_text()


def test_every_excused_command_is_on_a_page():
    for start in readme.NOT_RUN:
        assert any(command.startswith(start) for command in readme.commands()), start


def test_every_parameter_that_a_command_sets_exists():
    text = "\n".join(TEXTS.values())
    names = re.findall(r"-S '?([\w.]+)=", text)
    assert len(names) > 5
    assert set(names) <= set(dict(parameters(PARAMS, whole=set())))


def test_the_ladder_shows_the_committed_run():
    with open(ROOT / "metrics/ladder.csv", newline="") as file:
        measured = {row["rung"]: row for row in csv.DictReader(file)}
    shown = readme.table("rung |")
    assert shown
    for rung, exact, kl, megabytes in shown:
        row = measured[rung]
        interval = [row[f"exact_match{end}"] for end in ("", "_low", "_high")]
        assert re.findall(r"[\d.]+", exact) == [f"{float(value):.3f}" for value in interval]
        assert float(kl) == float(f"{float(row['kl']):.2g}")
        assert megabytes == f"{int(row['bytes']) / 1e6:.2f}"
