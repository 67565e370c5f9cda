"""The parts of README.md that are made from the code, and how they are found in it again.

`make readme` writes them: the picture of the pipeline (`dvc dag`), and the tree of scripts/ from
the docstrings.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

from imports import ROOT, SCRIPTS

README = ROOT / "README.md"


def dag():
    """The pipeline as Mermaid, which code hosts draw."""
    dvc = [str(Path(sys.executable).with_name("dvc")), "dag", "--md", "--collapse-foreach-matrix"]
    return subprocess.run(dvc, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def tree():
    """scripts/ with the first words of each file's docstring."""
    return "```\n" + "\n".join(_lines(SCRIPTS, 0)) + "\n```"


def _lines(folder, depth):
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir() and path.name != "__pycache__":
            yield _line(f"{path.name}/", _summary(path / "__init__.py"), depth)
            yield from _lines(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield _line(path.name, _summary(path), depth)


def _line(name, text, depth):
    return f"{'  ' * depth + name:26}{text}".rstrip()


def _summary(path):
    """The first sentence of the docstring's first line."""
    docstring = (
        ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else None
    )
    return (
        re.split(r"\.(?:\s|$)", docstring.splitlines()[0])[0].replace("`", "") if docstring else ""
    )


PARTS = {"dag": dag, "tree": tree}


def written(name):
    """What README.md holds between the markers of a part."""
    return _between(name).search(README.read_text(encoding="utf-8")).group(2).strip()


def _between(name):
    return re.compile(rf"(<!-- {name}: .*? -->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)


def table(header):
    """The rows of the table whose first line starts with `header`, each a list of cells."""
    lines = (
        README.read_text(encoding="utf-8")
        .split(f"\n| {header}", 1)[1]
        .split("\n\n", 1)[0]
        .splitlines()[2:]
    )
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines
    ]


def commands():
    """Every command of README.md's `sh` blocks, without its comment, in order."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    joined = re.sub(r"\s*\\\n\s*", " ", "".join(blocks))  # a line that ends in a backslash goes on
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line]


def write(part):
    made = PARTS[part]()
    text = _between(part).sub(
        lambda found: f"{found[1]}{made}\n{found[3]}", README.read_text(encoding="utf-8")
    )
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in PARTS:
        write(name)
