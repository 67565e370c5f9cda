"""What a file that should hold a model is instead, told by its first bytes.

Downloads go wrong in a few ways: a web page is saved in the file's place, Git has only a pointer,
or the file has another suffix than its content. Each has a sentence that says so.
"""

import re
from pathlib import Path

AGAIN = "run the stage that makes it again, or download it again"

# {the first bytes: what the file is, and what to do}
_KINDS = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch the model with `git lfs pull`",
    b"/annex/objects/": "a pointer of git-annex; fetch the model with `git annex get`",
    b"outs:\n": "a pointer of DVC; fetch the model with `dvc pull`",
    b"GGUF": "a GGUF; llama.cpp and Ollama run it (docs/gguf.md)",
    b"\x1f\x8b": "packed with gzip; unpack it with `gunzip`",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard; unpack it with `zstd -d`",
}
_OURS = {b"LITERTLM": ".litertlm", b"PK\x03\x04": ".task", b"\0\0\0\0PK\x03\x04": ".task"}
_TASK = re.compile(rb"\0*PK\x03\x04.{26}(TF_LITE|TOKENIZER|METADATA)", re.DOTALL)  # in any order
_PAGE = re.compile(rb"\s*<(!doctype|html|head|body|\?xml|error)\b", re.IGNORECASE)
_HEAD = 512  # bytes


def foreign(path: str | Path) -> str | None:
    """What the file at `path` is and what to do.

    None if it begins as its suffix says, or if there is none.
    """
    if not Path(path).is_file():
        return None
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if not head:
        return f"an empty file; {AGAIN}"
    for magic, what in _KINDS.items():
        if head.startswith(magic):
            return what
    suffix = _suffix(head)
    if suffix == ".task" != Path(path).suffix and not _TASK.match(head):
        return "a ZIP archive; unpack it"
    if suffix:
        return None if suffix == Path(path).suffix else f"a {suffix} by its content; rename it"
    if _PAGE.match(head):
        return "a web page, perhaps an error or a login page; download the model again"
    if _is_text(head):
        return f"text that begins with {head[:60].decode(errors='replace')!r}; {AGAIN}"
    return None


def _suffix(head: bytes) -> str | None:
    """The suffix that a model with these first bytes has."""
    if head[4:8] == b"TFL3":
        return ".tflite"
    return next((suffix for magic, suffix in _OURS.items() if head.startswith(magic)), None)


def _is_text(head: bytes) -> bool:
    return all(byte > 31 or byte in b"\t\n\r\f" for byte in head)
