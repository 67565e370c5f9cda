"""Which of our own files a script imports, or reads beside its modules: taken from the source,
nothing is run.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


def imported_files(script: Path) -> set[str]:
    """Paths, relative to the repository, of `script` and of all our modules it reaches, packages'
    __init__ included.
    """
    found, todo = set(), [script]
    while todo:
        path = todo.pop()
        name = path.relative_to(ROOT).as_posix()
        if name not in found:
            found.add(name)
            if path.suffix == ".py":
                todo += [file for module in _modules(path) for file in _files(module)] + list(
                    _data_files(path)
                )
    return found


def _modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(module):
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        place = SCRIPTS.joinpath(*parts[:depth])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file


def has_code(path: Path) -> bool:
    """Whether a Python file holds more than a docstring: an empty `__init__.py` decides nothing."""
    docstring = ast.get_docstring(tree := ast.parse(path.read_text(encoding="utf-8"))) is not None
    return len(tree.body) > int(docstring)


def _data_files(path):
    """Files that a module names: beside it (corpus.yaml), or in scripts/ (recipes/int4.json)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and "." in text and "\n" not in text and text[0] != "/":
            for folder in (path.parent, SCRIPTS):
                file = folder / text[:100]
                is_ours = file.is_relative_to(SCRIPTS)  # not a path of the system's
                if is_ours and file.is_file() and file.suffix != ".py":
                    yield file
