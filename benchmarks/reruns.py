"""How many stage reruns the history of this repository would have cost with today's dvc.yaml.

For each of the last commits that changed a file of code, counts the stages that list that file or
its folder. Files that have moved since count under today's name. Two more columns show the count if
every stage listed exactly the files that it imports, and if it listed their whole folders.

    python benchmarks/reruns.py [--commits 64] [--until REVISION]
"""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from imports import SCRIPTS, imported_files  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commits", type=int, default=64)
    parser.add_argument("--until", default="HEAD", help="the last commit to count")
    arguments = parser.parse_args()

    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    files = {stage: imported_files(SCRIPTS / f"{stage}.py") for stage in stages}
    layouts = {
        "dvc.yaml": {stage: code_deps(content) for stage, content in stages.items()},
        "files": files,
        "folders": {stage: {folder_of(file) for file in files[stage]} for stage in stages},
    }
    commits = history(set().union(*files.values()), arguments.until)[: arguments.commits]
    print(
        f"{len(commits)} commits\n\n| stage | {' | '.join(layouts)} |\n"
        f"|---|{'---:|' * len(layouts)}"
    )
    counts = {name: count(commits, deps) for name, deps in layouts.items()}
    for stage in stages:
        print(f"| {stage} | {' | '.join(str(counts[name][stage]) for name in layouts)} |")
    print(f"| all | {' | '.join(str(counts[name].total()) for name in layouts)} |")


def code_deps(stage):
    """The files and folders of code that a stage of dvc.yaml lists."""
    return {dep for dep in stage["deps"] if dep.startswith("scripts/")}


def folder_of(file):
    """The room that a file is in. Scripts and the package's own files stand alone."""
    parent = Path(file).parent.as_posix()
    return file if parent in ("scripts", "scripts/gemma_finetune") else parent


def history(files, until):
    """For each commit, newest first, today's files that it changed. Commits without any are left
    out.

    `git log` does not follow renames of many files at once, so this does: going back in time, a
    file that was renamed is looked up under its older name from then on.
    """
    log = ["git", "log", "--format=%x40", "--name-status", "-M40%", "HEAD", "--", "scripts"]
    text = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    skipped = ["git", "rev-list", "--count", f"{until}..HEAD", "--", "scripts"]
    newer = int(
        subprocess.run(skipped, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )

    today = {file: file for file in files}
    commits = []
    for block in text.split("@\n")[1:]:
        changed = set()
        for line in block.split("\n"):
            status, *names = line.split("\t")
            if names and names[-1] in today:
                changed.add(today[names[-1]])
            if status.startswith("R") and names[1] in today:
                today[names[0]] = today[names[1]]
        commits.append(changed)
    return [changed for changed in commits[newer:] if changed]


def count(commits, deps):
    """{stage: commits that would have run it again}."""
    reruns = Counter()
    for changed in commits:
        for stage, listed in deps.items():
            if any(file == dep or file.startswith(f"{dep}/") for file in changed for dep in listed):
                reruns[stage] += 1
    return reruns


if __name__ == "__main__":
    main()
