"""Which files hold data, told by their names. `sniff` tells what they hold by their bytes."""

import re
from pathlib import PurePath

TEXTS = (".jsonl", ".ndjson", ".json", ".txt")
TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
SUFFIXES = TEXTS + TABLES
SAME_AS = {".jsonlines": ".jsonl", ".tab": ".tsv", ".pq": ".parquet", ".ipc": ".arrow"}
PACKED = (".gz", ".bz2", ".xz", ".zst")

# Whole names, in lower case and without a suffix such as .txt, that describe data.
_NOTES = {
    "readme", "license", "licence", "copying", "notice", "changelog", "citation", "authors",
    "contributing", "makefile", "dockerfile", "md5sums", "sha256sums", "manifest",
}  # fmt: skip
# What Hugging Face's datasets, Spark, Windows and macOS put beside data.
_BESIDE = {
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json",
    "croissant.json", "thumbs.db", "desktop.ini", "__macosx", "__pycache__",
}  # fmt: skip
_NOT_DATA_SUFFIXES = {
    ".md", ".rst", ".dvc", ".py", ".pyc", ".ipynb", ".sh", ".yaml", ".yml", ".toml", ".lock",
    ".log",
    ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".bib", ".cff", ".md5", ".sha256",
    ".bak", ".orig", ".swp", ".swo", ".tmp",
}  # fmt: skip
# Editors' backups and locks; files that datasets' `map` leaves in a saved folder; Spark's markers.
_NOT_DATA_NAMES = re.compile(
    r".*~|#.*#|~\$.*|cache-[0-9a-f]+(_\d+_of_\d+)?\.arrow"
    r"|_(success|metadata|common_metadata|committed_.*|started_.*)"
)
# Kinds that programs can save in another way.
_SAVE_AS = dict.fromkeys(
    (".xlsx", ".xlsm", ".xls", ".ods", ".numbers"), "a spreadsheet; save its table as CSV (UTF-8)"
)
_SAVE_AS |= dict.fromkeys(
    (".tar", ".tgz", ".7z", ".rar"), "an archive; unpack it, and put the files into data.raw"
)
_UNFINISHED = (".part", ".partial", ".crdownload", ".incomplete", ".download", ".icloud")


def is_not_data(path: PurePath) -> bool:
    """Whether a name, below data.raw, says that the file or folder holds no data."""
    name = path.name.lower()
    return (
        (name.startswith(".") and not name.endswith(".icloud"))
        or name in _BESIDE
        or name.removesuffix(".txt") in _NOTES
        or path.suffix.lower() in _NOT_DATA_SUFFIXES
        or _NOT_DATA_NAMES.fullmatch(name) is not None
    )


def kind(path: PurePath) -> str:
    """The suffix that says what a file holds, in lower case, without those of packed files."""
    name = path.with_name(path.name.lower())
    while name.suffix in PACKED:
        name = name.with_suffix("")
    return SAME_AS.get(name.suffix, name.suffix)


def why_unreadable(path: PurePath) -> str | None:
    """What is wrong with a file of a kind that cannot be read, and what to do. None if it can."""
    if kind(path) in (*SUFFIXES, ".zip"):
        return None
    if path.suffix.lower() in _UNFINISHED:
        return "a download that is not finished; finish it, or remove the file"
    if what := _SAVE_AS.get(kind(path)):
        return what
    return (
        f"not a kind of file that can be read ({', '.join(SUFFIXES)}, each also with "
        f"{', '.join(PACKED)} or .zip); convert it, or move it out of data.raw"
    )
