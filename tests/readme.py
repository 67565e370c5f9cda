"""Reads README.md and docs/*.md, and writes the parts of them that come from the code.

`make readme` runs this file: it writes the picture of the pipeline to README.md, and the tree of
scripts/, from the docstrings, to docs/development.md.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from imports import ROOT, SCRIPTS

README = ROOT / "README.md"
DEVELOPMENT = ROOT / "docs" / "development.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

# Commands that a test cannot run, by their beginning, and why. test_pipeline.py runs all others.
NOT_RUN = {
    "make test": "it is this",
    "make web": "serves until Ctrl-C; tests/web has what it does",
    "python scripts/web.py --out DIR": "needs npm; tests/web does it",
    "python scripts/agreement.py --on gpu": "needs a GPU; tests/web/test_agreement.py",
    ". .venv/bin/activate": "the tests' own environment takes its place",
    "dvc exp run -S lora.rank=16": "minutes; test_pipeline.py runs it with another rank",
    "dvc queue start --jobs 2": "minutes; test_queue.py runs a queue of its own",
    "dvc exp run --pull --allow-missing": "minutes; test_remote.py runs it up to what it fetches",
    "dvc exp run -S model.preset=hf://": "needs an account",
    "dvc exp run -S data.raw=my/folder": "minutes; test_own_data.py",
    "dvc exp run -S '++data.columns": "needs such data; test_own_data.py runs it up to validate",
    "dvc exp run -S model.preset=function_gemma": "needs an account",
    "python scripts/chat.py --model models/bundle/int8.litertlm --tools": "needs FunctionGemma",
    '.venv/bin/pip install "jax[cuda12]': "needs a GPU",
    "dvc push --run-cache": "test_remote.py",
    "dvc pull --run-cache": "test_remote.py",
    "dvc pull data/formatted": "test_remote.py",
    "git push origin task-int8@v1.0.0": "needs a server",
    "litert-lm serve": "runs until Ctrl-C; tests/export/test_serve.py",
    "curl -s http://127.0.0.1:9379": "tests/export/test_serve.py",
    "git clone --depth 1 https://github.com/ggml-org": "needs the network",
    "python llama.cpp/convert_hf_to_gguf.py": "needs llama.cpp",
    "llama-server": "needs llama.cpp",
    "ollama": "needs Ollama",
    "hf upload": "needs an account, and uploads",
    "sed 's/^library_name": "for an upload",
    "adb": "needs a phone",
}
# What a reader puts in place of the pages' own words.
FILLED_IN = {
    "make repro": "make -o .venv/installed repro",
    "dvc add my/folder": "mkdir -p my && cp -r data/raw my/folder && dvc add my/folder",
    "dvc exp apply NAME": "dvc exp apply mine",
    "dvc exp branch NAME": "dvc exp branch mine",
    "gto register": "git commit -qam Remotes && gto register",
    "dvc artifacts get URL": "dvc artifacts get .",
}


def draw_dag() -> str:
    """The pipeline in Mermaid, which GitHub draws."""
    dvc = [str(Path(sys.executable).with_name("dvc")), "dag", "--md", "--collapse-foreach-matrix"]
    return subprocess.run(
        dvc, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    ).stdout.strip()


def draw_tree() -> str:
    """scripts/, one line a file, with the first sentence of its docstring."""
    return "```\n" + "\n".join(_tree_lines(SCRIPTS, depth=0)) + "\n```"


def _tree_lines(folder: Path, depth: int) -> Iterator[str]:
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir() and path.name != "__pycache__":
            yield _tree_line(f"{path.name}/", path / "__init__.py", depth)
            yield from _tree_lines(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield _tree_line(path.name, path, depth)


def _tree_line(name: str, file: Path, depth: int) -> str:
    return f"{'  ' * depth + name:26}{_first_sentence(file)}".rstrip()


def _first_sentence(file: Path) -> str:
    """The first sentence of a file's docstring, or an empty string."""
    if not file.exists():
        return ""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"\.(?:$|\s+(?=[A-Z`]))", paragraph)[0].replace("`", "")


# name of the part -> its page, and the function that makes it
PARTS = {"dag": (README, draw_dag), "tree": (DEVELOPMENT, draw_tree)}


def written(part: str) -> str:
    """What a part's page holds between its markers."""
    page, _ = PARTS[part]
    return _between(part).search(page.read_text(encoding="utf-8"))[2].strip()


def write(part: str) -> None:
    page, make = PARTS[part]
    made = make()
    text = page.read_text(encoding="utf-8")
    text = _between(part).sub(lambda found: f"{found[1]}{made}\n{found[3]}", text)
    page.write_text(text, encoding="utf-8")


def _between(part: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {part}: .*? -->\n)(.*?)(<!-- end of {part} -->)", re.DOTALL)


def table(header: str) -> list[list[str]]:
    """The cells of the table whose first line starts with `| header`, row by row."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    lines = text.split(f"\n| {header}", 1)[1].split("\n\n", 1)[0].splitlines()

    rows = []
    for line in lines[2:]:  # the rest of the header and the line under it come first
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        rows.append([cell.strip() for cell in cells])
    return rows


def commands() -> list[str]:
    """Every command of the `sh` blocks, without its comment, page by page and in order."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            joined = re.sub(r"\s*\\\n\s*", " ", block)  # a backslash continues a line
            lines = [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()]
            found += filter(None, lines)
    return found


def commands_to_run() -> list[str]:
    """The commands that a test can run, in order, with a reader's own words filled in."""
    return [_filled_in(command) for command in commands() if not command.startswith(tuple(NOT_RUN))]


def _filled_in(command: str) -> str:
    for words, replacement in FILLED_IN.items():
        if command.startswith(words):
            return command.replace(words, replacement)
    return command


if __name__ == "__main__":
    for name in PARTS:
        write(name)
