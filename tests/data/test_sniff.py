"""Files that are not what they should be are told by their bytes, with what to do."""

import gzip
import json

import pytest

from gemma_finetune.data.readers import read_rows
from gemma_finetune.utils.errors import UserError

ROW = '{"instruction": "Wo ist das Café?", "output": "Dort – „links“"}\n'


def refusal(tmp_path, content, name="data.jsonl"):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(read_rows(path))
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.txt", "data.json"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_without_a_mark(tmp_path, name, encoding):
    message = refusal(tmp_path, ROW.encode(encoding), name)
    short = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    assert (
        f"is {short} without a mark; convert it with `iconv -f {short} -t UTF-8 OLD > NEW`"
        in message
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_encodings_with_a_mark(tmp_path, encoding):
    assert f"`iconv -f {encoding.upper()} -t UTF-8 OLD > NEW`" in refusal(
        tmp_path, ROW.encode(encoding), "data.csv"
    )


@pytest.mark.parametrize("start", ["", "[", "instruction,output\n"])
def test_windows_1252(tmp_path, start):
    name = "data.csv" if start.startswith("i") else "data.json"
    rows = ROW * 3
    if start == "[":
        rows = f"{ROW},{ROW}]"
    if start.startswith("i"):
        rows = "Wo ist das Café?,Dort – „links“\n"
    content = (start + rows).replace("„", '\\"' if name == "data.json" else "").replace("“", "")
    message = refusal(tmp_path, content.replace('\\"', "").encode("cp1252"), name)
    assert "is not UTF-8 (line" in message and "Caf\\xe9" in message
    assert "`iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`" in message


def test_one_accent_in_many_rows_of_windows_1252(tmp_path):
    content = b'{"text": "x"}\n' * 200_000 + '{"text": "Olá"}\n'.encode("latin-1")
    assert 'line 200001: b\'{"text": "Ol\\xe1"}\'' in refusal(tmp_path, content)


@pytest.mark.parametrize("encoding", ["cp1251", "gbk", "shift-jis", "euc-kr", "koi8-r"])
def test_other_encodings(tmp_path, encoding):
    text = {"cp1251": "Привет", "koi8-r": "Привет", "euc-kr": "안녕하세요"}.get(encoding, "你好")
    content = f'{{"text": "{text} {text}"}}\n'.encode(encoding, "replace") * 50
    message = refusal(tmp_path, content)
    assert "is not UTF-8 (line 1: " in message and "iconv -f " in message


@pytest.mark.parametrize(
    "bad", [b"\xff\xfe", b"\x80", b"\xc3", b"\xe2\x80", b"\xf0\x9f", b"\xed\xa0\x80"]
)
@pytest.mark.parametrize("around", ["x", "naïve €"])
def test_one_damaged_row_is_left_to_validation(tmp_path, bad, around):
    path = tmp_path / "data.jsonl"
    good = f'{{"text": "{around}"}}\n'.encode()
    path.write_bytes(good * 3 + b'{"text": "' + bad + b'"}\n' + good)
    assert len(list(read_rows(path))) == 5


def test_utf8_across_the_parts_that_are_read(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"text": "{"é€😀" * 500_000}"}}\n', encoding="utf-8")
    ((_, row),) = read_rows(path)
    assert row == path.read_bytes()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
        (b"\n<html lang=en>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML message"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s3--ab.jsonl\n", "git annex get"),
        (b"SQLite format 3\0" + bytes(100), "an SQLite database"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "an old Excel or Word file"),
        (b"\x80\x04\x95" + bytes(100), "a Python pickle"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7-Zip archive"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "a tar archive"),
        (b"Obj\x01\x04\x14avro.codec", "an Avro file"),
        (bytes(range(1, 32)) * 10, "neither text nor a table"),
    ],
)
@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.parquet"])
def test_other_files_are_named(tmp_path, content, message, name):
    assert message in refusal(tmp_path, content, name)
    assert message in refusal(tmp_path, gzip.compress(content), name)


@pytest.mark.parametrize("name", ["data.parquet", "data.arrow", "data.zip", "data.feather"])
def test_text_under_the_name_of_a_table_of_bytes(tmp_path, name):
    assert "is not what its name says" in refusal(tmp_path, b"prompt,completion\na,b\n", name)


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.txt"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_under_the_name_of_json(tmp_path, name, separator):
    content = f"prompt{separator}completion\nHi{separator}Hello\n".encode()
    assert "looks like a table" in refusal(tmp_path, content, name)


def test_prose(tmp_path):
    content = b"These are my chats.\nPlease do not train on this text.\n"
    assert "is plain text, neither" in refusal(tmp_path, content, "notes.txt")


def test_json_lines_may_begin_with_a_broken_row(tmp_path):
    path = tmp_path / "data.jsonl"
    for first in (b"not json, at all", b"[]", b"null", b'{"a": ', b"'x'"):
        path.write_bytes(first + b'\n{"text": "x"}\n{"text": "y"}\n')
        assert [row.rstrip() for _, row in read_rows(path)][0] == first.rstrip()
        assert len(list(read_rows(path))) == 3


def test_a_table_by_columns_is_named(read_content):
    with pytest.raises(UserError, match="orient=.columns.; .*orient=.records"):
        read_content(
            '{"instruction": {"0": "a", "1": "b"}, "output": {"0": "c", "1": "d"}}', "a.json"
        )


TABLE = {"prompt": ["q0", "q1"], "completion": ["a0", "a1"]}


@pytest.mark.parametrize(
    "orient, content",
    [
        ("columns", {key: {"r1": a, "r2": b} for key, (a, b) in TABLE.items()}),
        ("index", {"0": {"prompt": "q0"}, "1": {"prompt": "q1"}}),
        ("index", {"r1": {"prompt": "q0"}, "r2": {"prompt": "q1"}}),
        ("split", {"columns": ["prompt"], "index": [0], "data": [["q0"]]}),
        ("split", {"columns": ["prompt"], "data": [["q0"]]}),
        ("list", TABLE),
        ("list", {"prompt": ["q" * (1 << 20)], "completion": ["a"]}),
    ],
)
def test_orients_of_pandas_are_named(read_content, orient, content):
    with pytest.raises(UserError, match=f"with orient='{orient}'; .*orient=.records"):
        read_content(json.dumps(content), "a.json")


@pytest.mark.parametrize("row", [
    {"chosen": {"role": "a", "content": "b"}, "rejected": {"role": "a", "content": "c"}},
    {"usage": {"in": 1}, "limits": {"in": 2}, "prompt": "a", "completion": "b"},
    {"data": ["Hi"], "prompt": "a"},
])  # fmt: skip
def test_rows_that_are_no_tables(read_content, row):
    assert [value for _, _, value in read_content(json.dumps(row), "a.json")] == [row]


@pytest.mark.parametrize("header", ["[id]", "{id}"])
def test_a_column_may_begin_with_a_bracket(read_content, header):
    content = f"{header};prompt\n1;q\n"
    assert read_content(content, "a.csv") == [("a.csv", 1, {header: "1", "prompt": "q"})]


def test_a_chat_with_dates_in_brackets_is_plain_text(tmp_path):
    content = b"[12/03/2024, 10:00] Bob: Hi\n[12/03/2024, 10:01] Al: x\n"
    assert "is plain text, neither" in refusal(tmp_path, content, "chat.txt")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_under_keys_of_their_own_are_named(read_content, name):
    row = {"prompt": "Hi", "completion": "Hello"}
    with pytest.raises(UserError, match="a row under each of its keys .'id1', ….*; .* array"):
        read_content(json.dumps({"id1": row, "id2": row}), name)


@pytest.mark.parametrize("length", [40, 300, 700, 1000])
def test_null_bytes_after_text_are_no_encoding(read_content, length):
    text = json.dumps({"prompt": "x" * length, "completion": "y"}) + "\n"
    content = text.encode()[:length] + b"\0" * 4000
    with pytest.raises(UserError, match=f"nothing but null bytes from byte {length:,} on"):
        read_content(content)
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        with pytest.raises(UserError, match=f"is {encoding.upper()[:6]}"):
            read_content(text.encode(encoding))
