"""Checks every row of the raw data and sets aside those that cannot be used, with the reason.

What data.raw in params.yaml names (ShareGPT, Alpaca, ChatML; JSON, CSV, Parquet, Arrow) ->
data/validated/{records,rejected}.jsonl, metrics/validate.json

    python scripts/validate.py
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import orjson

from gemma_finetune.config import ACTIVATION, load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.extra_keys import keep_most_common
from gemma_finetune.data.loader import Placed, Survey, missing_shards, read_files, survey
from gemma_finetune.data.lost import REJECTED, describe_rejection, rejected_rows, too_many
from gemma_finetune.data.row_guess import listed
from gemma_finetune.data.split import SPLITS, looks_like_split, split_in_name
from gemma_finetune.data.validation import COUNTED, MOST_COMMON, check_rows
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, write_json
from gemma_finetune.utils.parallel import chunks, map_ordered

SHOWN = 5  # rejected rows shown when there are too many, or one of each reason
NAMES_SHOWN = 10  # names of files that are left out

Counts = dict[str, Counter]  # rows by file, and one for each name in COUNTED


def main() -> None:
    config = load_section("data", DataConfig)
    found = survey(config.raw)
    root = root_of(config.raw)
    refuse_unclear_names(found.names, root)
    for line in [*notes(found), *unclear_splits(found.names, root)]:
        print(line)

    with aside("data/validated") as folder:
        folder.mkdir()
        counts, first = validate(config, found, root, folder)
        summary = summarize(counts)
        problem = unknown_columns(config.columns, counts["columns"], counts["keys"])
        problem = problem or too_many_lost(
            summary, first, config.max_lost_fraction, counts["causes"]
        )
        if problem:
            # The rejected rows can still be read. The records must not be mistaken for good data.
            (folder / "records.jsonl").unlink()
    write_json("metrics/validate.json", summary)
    print(table(summary))
    for line in splits_by_name(counts["files"], root):
        print(line)
    for key, count in counts["split_keys"].items():
        if count == counts["ignored_keys"][key]:
            print(
                f"note: `{key}` seems to name the split of {count:,} rows, but is ignored; write "
                "it as `split` (train, validation or test), or name it in data.columns"
            )
    if "all_named_train" in summary:
        print(
            "note: all rows name the split train (or their files do), which leaves nothing to hold "
            "out: data.validation_fraction and data.test_fraction of them will be held out"
        )
    if problem:
        raise UserError(problem)


def root_of(raw: str) -> str:
    """The folder below which names of files and folders may name a split."""
    path = Path(raw)
    return path.as_posix() if path.is_dir() else path.parent.as_posix()


def refuse_unclear_names(names: Iterable[str], root: str) -> None:
    """UserError for a file with the names of two splits in its name."""
    for name in names:
        try:
            split_in_name(name, root)
        except ValueError as error:
            raise UserError(f"{name}: {error}")


def notes(found: Survey) -> list[str]:
    """What a person should know about the files: what is left out, and what seems to be missing."""
    lines = [f"note: {sentence}" for sentence in missing_shards(found.files)]
    if found.not_data:
        shown = ", ".join(found.not_data[:NAMES_SHOWN])
        more = len(found.not_data) - NAMES_SHOWN
        lines.append(f"not data, left out: {shown}" + (f" and {more} more" if more > 0 else ""))
    return lines


def unclear_splits(names: list[str], root: str) -> list[str]:
    """A note for files whose names seem to name a split, but do not."""
    unclear = [
        name for name in names if not split_in_name(name, root) and looks_like_split(name, root)
    ]
    if not unclear or len(names) == 1:
        return []
    shown = ", ".join(unclear[:NAMES_SHOWN])
    return [
        f"note: the names of {len(unclear)} files say no split, as only whole words do (train, "
        f"validation, test): {shown}; if their rows are held out, rename them"
    ]


def validate(
    config: DataConfig, found: Survey, root: str, folder: Path
) -> tuple[Counts, list[dict]]:
    """Writes records and rejections. Returns the counts and the rejections to be shown."""
    counts: Counts = {name: Counter() for name in COUNTED}
    counts["files"] = Counter(dict.fromkeys(found.names, 0))
    first = Examples()

    check = partial(
        check_rows,
        format=config.format,
        allowed=config.repairs,
        columns=config.columns,
        rule=config.reasoning,
        raw=root,
    )
    rows = count_by_file(read_files(found.files), counts["files"])
    with (
        open(folder / "records.jsonl", "wb") as records,
        open(folder / "rejected.jsonl", "wb") as rejected,
    ):
        for outcome in map_ordered(check, chunks(rows, size=lambda row: len(row[2]))):
            records.write(outcome.records)
            rejected.write(outcome.rejected)
            first.add(outcome.rejected, outcome.counts["reasons"])
            for name, counter in outcome.counts.items():
                counts[name].update(counter)
            for name in MOST_COMMON:
                counts[name] = keep_most_common(counts[name])
    return counts, first.shown()


class Examples:
    """The first rejected row of each reason, and the first few of any."""

    def __init__(self) -> None:
        self._rows: list[tuple[bool, dict]] = []  # with whether it is the first of its reason
        self._reasons: set[str] = set()

    def add(self, rejected: bytes, reasons: Counter) -> None:
        """Rejected rows as JSON lines, and how many there are of each reason."""
        if len(self._rows) >= SHOWN and reasons.keys() <= self._reasons:
            return
        for line in rejected.splitlines():
            row = orjson.loads(line)
            is_new = row["reason"] not in self._reasons
            if is_new or len(self._rows) < SHOWN:
                self._rows.append((is_new, row))
                self._reasons.add(row["reason"])

    def shown(self) -> list[dict]:
        """One row of each reason, and others up to SHOWN; in the order of the data."""
        others = SHOWN - len(self._reasons)
        rows = []
        for is_new, row in self._rows:
            others -= not is_new
            if is_new or others >= 0:
                rows.append(row)
        return rows


def count_by_file(rows: Iterable[Placed], files: Counter) -> Iterator[Placed]:
    """The rows, unchanged; each is counted in `files` as it passes.

    A file whose keys name splits is counted by its keys (`a.json#test`) once it is read.
    """
    for row in rows:
        name = row[0]
        if name not in files and files.get(file := name.rpartition("#")[0]) == 0:
            del files[file]
        files[name] += 1
        yield row


def splits_by_name(files: Counter, root: str) -> list[str]:
    """How many rows are in files that are named for a split."""
    rows: Counter = Counter()
    for name, count in files.items():
        rows[split_in_name(name, root)] += count
    return [
        f"{rows[split]:>9,}  rows of files named for {split}" for split in SPLITS if rows[split]
    ]


def summarize(counts: Counts) -> dict:
    """The metrics: numbers of rows, by format, by reason of rejection, by repair."""
    rows = counts["rows"]
    # A mapping {file: 0}, not a list: DVC would plot a list as data points.
    empty_files = {file: 0 for file, count in sorted(counts["files"].items()) if not count}
    counted = {name: rows[name] for name in ("with_tools", "without_activation") if rows[name]}
    if 0 < rows["named_train"] == rows["accepted"]:
        counted["all_named_train"] = rows["accepted"]
    return {
        "read": rows["read"],
        "accepted": rows["accepted"],
        "rejected": rows["rejected"],
        "rejected_fraction": rows["rejected"] / rows["read"] if rows["read"] else 0.0,
        "files": len(counts["files"]),
        "empty_files": empty_files,
        "formats": dict(counts["formats"]),
        "reasons": dict(counts["reasons"]),
        "repairs": dict(counts["repairs"]),
        "with_untrained_answers": rows["with_untrained_answers"],
        "ignored_keys": dict(counts["ignored_keys"]),
        **counted,
    }


def table(summary: dict) -> str:
    """What the run prints at its end."""
    titles = {
        "formats": "format",
        "repairs": "repair",
        "ignored_keys": "ignored key",
        "reasons": "reason",
    }
    lines = [
        f"{summary['read']:>9,} rows read, {summary['accepted']:,} accepted, "
        f"{summary['rejected']:,} rejected"
    ]
    for name, title in titles.items():
        for value, count in sorted(summary[name].items()):
            lines.append(f"{count:>9,}  {title}: {value}")
    if summary["with_untrained_answers"]:
        lines.append(f"{summary['with_untrained_answers']:>9,}  with answers not trained on")
    if summary.get("with_tools"):
        lines.append(f"{summary['with_tools']:>9,}  with functions to call")
    if summary.get("without_activation"):
        lines.append(
            f"note: the system text of {summary['without_activation']:,} rows with functions lacks "
            f'"{ACTIVATION}", by which FunctionGemma knows that it may call; put it into the rows, '
            "and into your app"
        )
    for file in summary["empty_files"]:
        lines.append(f"no row in {file}: fetch it again, or remove it")
    return "\n".join(lines)


def unknown_columns(columns: Mapping[str, str], found: Counter, keys: Counter) -> str | None:
    """The error message if `data.columns` names a column that no row has. keys: those of rows."""
    missing = [f"{name}: {column}" for name, column in columns.items() if not found[column]]
    if not missing or not keys:
        return None
    return (
        f"data.columns names columns that no row has ({', '.join(missing)}); correct the names: "
        f"the rows have {listed(keys)}"
    )


def too_many_lost(summary: dict, first: list[dict], limit: float, causes: Counter) -> str | None:
    """The error message if no row is left or more than the fraction `limit` was rejected.

    first: rejected rows to be shown. causes: how many rows have each cause of rejection.
    """
    if not summary["read"]:
        return "the files of data.raw hold no row"
    shown = [describe_rejection(row) for row in first]
    if summary["accepted"]:
        lost = rejected_rows(summary["rejected"], lambda: shown)
        return too_many([lost], summary["read"], limit)

    if len(causes) == 1 and summary["rejected"] > 1:
        row = first[0]
        return (
            f"no row of data.raw can be used. All {summary['rejected']:,} rows have one fault: "
            f"{row['reason']}: {row['message']}\n"
            f"The first is {row['file']}:{row['line']}; all are in {REJECTED}"
        )
    examples = "\n".join(f"  {line}" for line in shown)
    return f"no row of data.raw can be used. For example:\n{examples}\nAll are in {REJECTED}"


if __name__ == "__main__":
    run(main)
