"""Files in ZIP archives and packed files, and archives that are damaged or hold no data."""

import gzip
import io
import zipfile

import pytest

from gemma_finetune.data import unpack
from gemma_finetune.utils.errors import UserError
from row_files import PACKERS, ROWS, to_csv, to_jsonl, to_parquet, values


def to_zip(members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def test_members_of_a_zip_archive(read_content):
    members = {
        "b/test.parquet": to_parquet(ROWS),
        "a.csv": to_csv(ROWS),
        "README.md": "# Data",
        "__MACOSX/._a.csv": "x",
        "c.jsonl.gz": gzip.compress(to_jsonl(ROWS)),
    }
    assert read_content(to_zip(members), "a.zip") == [
        (f"a.zip/{name}", number, row)
        for name in ("a.csv", "b/test.parquet", "c.jsonl.gz")
        for number, row in enumerate(ROWS, 1)
    ]


@pytest.mark.parametrize("name", ["a.zip", "a.jsonl.zip", "a.jsonl"])
def test_a_zip_archive_under_any_name(read_content, name):
    assert values(read_content(to_zip({"a.jsonl": to_jsonl(ROWS)}), name)) == ROWS


def test_a_workbook_is_named(read_content):
    with pytest.raises(UserError, match="a.xlsx: a workbook"):
        read_content(to_zip({"[Content_Types].xml": "", "xl/workbook.xml": ""}), "a.xlsx")


def test_a_damaged_zip_archive_is_named(read_content):
    content = to_zip({"a.jsonl": to_jsonl(ROWS * 100)})
    with pytest.raises(UserError, match="a.zip: a damaged ZIP archive"):
        read_content(content[:-30], "a.zip")
    broken = content[:60] + bytes(20) + content[80:]
    with pytest.raises(UserError, match="a.zip/a.jsonl: damaged after row"):
        read_content(broken, "a.zip")


def test_two_members_of_one_name_are_refused(read_content):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.jsonl", to_jsonl(ROWS[:1]))
        archive.writestr("a.jsonl", to_jsonl(ROWS[1:]))
    with pytest.raises(UserError, match="a.zip: holds two files named 'a.jsonl'"):
        read_content(sink.getvalue(), "a.zip")


@pytest.mark.parametrize("pack", [".bz2", ".xz"])
def test_packed_files_that_are_cut_short_are_errors(read_content, pack):
    packed = PACKERS[pack](to_jsonl([{"text": str(n)} for n in range(5000)]))
    with pytest.raises(UserError, match="damaged after row"):
        read_content(packed[: len(packed) // 2])


def test_a_temporary_copy_serves_packed_tables(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"abc"))
    with open(path, "rb", buffering=0) as file, unpack.seekable(unpack.unpack(file)) as copy:
        assert copy.seek(1) == 1 and copy.read() == b"bc"
