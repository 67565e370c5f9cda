"""The oldest Python that README.md names reads every file. (mypy, which is told that version too,
refuses what its standard library lacks.)
"""

import ast
import tomllib

import pytest

from imports import ROOT

OLDEST = (3, 11)
FILES = [
    path
    for folder in ("benchmarks", "scripts", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_syntax_is_newer_than_the_oldest_python(path):
    source = path.read_text(encoding="utf-8")
    ast.parse(source, filename=str(path), feature_version=OLDEST)


def test_the_tools_are_told_of_the_oldest_python():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tools["ruff"]["target-version"] == "py311"
    assert tools["mypy"]["python_version"] == "3.11"
