"""The lock files are what `make lock` made of the two requirements files."""

import ast
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from imports import ROOT, SCRIPTS

# Imported where RAY_ADDRESS is set, and to drive a browser; a message says how to install them.
OPTIONAL = {"ray", "playwright"}


def read(name):
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    assert len({canonicalize_name(requirement.name) for requirement in found}) == len(found)
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in found}


def test_every_file_pins_one_version_of_each_package():
    for path in ROOT.glob("requirements*"):
        for package, specifier in read(path.name).items():
            assert [pin.operator for pin in specifier] == ["=="], package
            assert "+" not in str(specifier), f"{package}: a local version is on no index"


def test_each_lock_holds_every_requirement_at_its_version():
    for name in ("requirements", "requirements-dev"):
        locked = read(f"{name}.lock")
        required = read(f"{name}.txt")
        assert {package: locked.get(package) for package in required} == required


def test_no_package_is_in_both_locks():
    """Else the second installation could replace what the first one pinned."""
    assert not read("requirements.lock").keys() & read("requirements-dev.lock").keys()


def test_the_default_installation_is_enough_for_every_script():
    packages = packages_distributions()
    for_development = read("requirements-dev.lock").keys() - OPTIONAL
    for path in SCRIPTS.rglob("*.py"):
        for module in imported_modules(path):
            providers = {canonicalize_name(name) for name in packages.get(module, [])}
            assert not providers or providers - for_development, f"{path} imports {module}"


def imported_modules(path):
    """Top-level names of the modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
