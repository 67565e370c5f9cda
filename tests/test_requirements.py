"""requirements.lock is what `make lock` made of this requirements.txt."""

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from imports import ROOT


def read(name):
    found = [Requirement(line) for line in (ROOT / name).read_text().splitlines() if line.strip()]
    assert len({canonicalize_name(requirement.name) for requirement in found}) == len(found)
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in found}


def test_both_files_pin_one_version_of_each_package():
    for name in ("requirements.txt", "requirements.lock"):
        for package, specifier in read(name).items():
            assert [pin.operator for pin in specifier] == ["=="], package
            assert "+" not in str(specifier), f"{package}: a local version is on no index"


def test_the_lock_holds_every_requirement_at_its_version():
    locked = read("requirements.lock")
    assert {package: locked.get(package) for package in read("requirements.txt")} == read(
        "requirements.txt"
    )
