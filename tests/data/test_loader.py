"""Rows from every kind of file, and a plain message for every kind of damage."""

import gzip
import json
import os
import zipfile
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data import texts
from gemma_finetune.data.loader import find_files, missing_shards, read_rows, survey
from gemma_finetune.utils.errors import UserError

ROWS = [{"a": 1}, {"b": 'x"]},{\\"'}, {"c": [[], {"d": "é\n"}]}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def rows(tmp_path):
    def read(content, name="data.jsonl"):
        path = tmp_path / name
        path.write_bytes(content)
        return list(read_rows(path))

    return read


def parsed(rows):
    return [(line, json.loads(row)) for line, row in rows]


def test_json_lines(rows):
    assert parsed(rows(JSONL)) == [(1, ROWS[0]), (2, ROWS[1]), (3, ROWS[2])]


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_packed_files_are_told_by_their_content(rows, pack):
    assert parsed(rows(pack(JSONL), "data.jsonl")) == parsed(rows(JSONL))


def test_several_frames_of_one_zstd_file_are_all_read(rows):
    assert len(rows(zstd.compress(JSONL) + zstd.compress(JSONL))) == 6


def test_byte_order_mark_crlf_and_blank_lines(rows):
    assert parsed(rows(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \r\n{"b": 2}')) == [
        (1, {"a": 1}),
        (4, {"b": 2}),
    ]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2])
def test_byte_order_marks_of_joined_files(rows, mark):
    expected = [(1, {"a": 1}), (2, {"b": 2}), (3, {"c": 3})]
    lines = b'%b{"a": 1}\n{"b": 2}\n%b{"c": 3}\n%b'
    assert parsed(rows(lines.replace(b"%b", mark))) == expected
    objects = lines.replace(b"%b", mark).replace(b'{"', b'{\n"')
    assert [row for _, row in parsed(rows(objects))] == [row for _, row in expected]
    text = "<|im_start|>user\nHi<|im_end|>"
    content = mark + text.encode() + b"\n\n" + mark + text.encode()
    assert parsed(rows(content, "a.txt")) == [(1, text), (4, text)]


def test_line_separators_inside_strings_do_not_end_a_row(rows):
    assert len(rows('{"a": "x\u2028y\u0085z"}\n{"b": 1}\n'.encode())) == 2


@pytest.mark.parametrize("indent", [None, 2])
def test_one_json_array(rows, indent):
    content = b"\xef\xbb\xbf \n" + json.dumps(ROWS, indent=indent).encode() + b"\n"
    assert [row for _, row in parsed(rows(content))] == ROWS


def test_array_rows_carry_their_number_in_the_array(rows):
    assert parsed(rows(b'[\n{"a":\n1},\n\n{"b": 2}, {"c": 3}\n]')) == [
        (1, {"a": 1}),
        (2, {"b": 2}),
        (3, {"c": 3}),
    ]


def test_array_across_small_buffers(rows, monkeypatch):
    monkeypatch.setattr(texts, "BUFFER", 2)
    assert [row for _, row in parsed(rows(json.dumps(ROWS, indent=1).encode()))] == ROWS


def test_empty_file_and_empty_array_have_no_rows(rows):
    assert rows(b"") == rows(b"\n \n") == rows(b"[]") == rows(b"[ \n ]") == []


def test_broken_element_costs_only_itself(rows):
    found = rows(b'[{"a": 1}, {"b": oops}, {"c": 3}]')
    assert [row for _, row in found] == [b'{"a": 1}', b'{"b": oops}', b'{"c": 3}']


@pytest.mark.parametrize("content", [b'[{"a": 1}, {"b"', b'[{"a": 1},', b'[{"a": "', b"["])
def test_array_that_is_cut_short_is_an_error(rows, content):
    with pytest.raises(UserError, match="cut short"):
        rows(content)


def test_array_that_something_follows_is_an_error(rows):
    with pytest.raises(UserError, match="something follows .* after row 1"):
        rows(b'[{"a": 1}]\n[{"b": 2}]')


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_packed_file_that_is_cut_short_is_an_error(rows, pack):
    packed = pack(JSONL * 100)
    with pytest.raises(UserError, match="data.jsonl: damaged after row"):
        rows(packed[: len(packed) // 2])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_named(rows, encoding):
    with pytest.raises(UserError, match=f"is {encoding.upper()}; convert it"):
        rows(JSONL.decode().encode(encoding))


def test_a_git_lfs_pointer_is_named(rows):
    with pytest.raises(UserError, match="git lfs pull"):
        rows(b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n")


def test_objects_over_several_lines(rows):
    content = "".join(json.dumps(row, indent=2) + "\n" for row in ROWS).encode()
    assert parsed(rows(content)) == [(1, ROWS[0]), (4, ROWS[1]), (7, ROWS[2])]
    assert parsed(rows(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")))[2] == (7, ROWS[2])


def test_plain_im_text_is_split_at_blank_lines(rows):
    first = "<|im_start|>user\nHi\n\nthere<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>"
    content = f"\n \n{first}\n\n{first.replace('Hi', 'Hé')}\n".encode()
    assert parsed(rows(content, "chats.txt")) == [(3, first), (10, first.replace("Hi", "Hé"))]


def test_plain_im_text_may_have_crlf(rows):
    text = "<|im_start|>user\nHi<|im_end|>"
    assert parsed(rows(f"{text}\n\n{text}\n".replace("\n", "\r\n").encode())) == [
        (1, text),
        (4, text),
    ]


@pytest.mark.parametrize("start", [b"<|im_start|>user", b"{"])
def test_a_block_over_the_limit_is_cut(rows, monkeypatch, start):
    monkeypatch.setattr(texts, "MAX_ROW_BYTES", 30)
    assert 30 < len(rows(start + b"\n" + b"x\n" * 1000)[0][1]) < 200
    assert 30 < len(rows(start + b"\n" + b"x" * 1000)[0][1]) < 200


def test_a_row_over_the_limit_is_cut_and_the_next_one_is_read(rows, monkeypatch):
    monkeypatch.setattr(texts, "MAX_ROW_BYTES", 10)
    found = rows(b'{"a": "' + b"x" * 100 + b'"}\n{"b": 2}\n')
    assert [(line, len(row)) for line, row in found] == [(1, 11), (2, 9)]


def test_files_of_a_folder_are_sorted_and_notes_are_left_out(tmp_path):
    data = ("b.jsonl", "a.json.gz", "sub/c.jsonl")
    for name in (*data, "README.md", ".hidden", ".checkpoints/b-checkpoint.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_files(str(tmp_path))] == ["a.json.gz", "b.jsonl", "c.jsonl"]


NOT_DATA = (
    "README.txt", "Readme", "LICENSE", "license.txt", "CITATION.cff", "notes.md", ".gitattributes",
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "a.jsonl~",
    ".a.jsonl.swp", "a.jsonl.swp", "#a.jsonl#", ".DS_Store", "Thumbs.db", "~$a.csv", "._a.jsonl",
    "a.jsonl.bak", "a.jsonl.orig", "load.py", "plot.png", "SHA256SUMS", "a.jsonl.md5", "_SUCCESS",
    "cache-0123abcd.arrow", "cache-0123abcd_00000_of_00002.arrow", "desktop.ini",
    "__MACOSX/a.jsonl", ".cache/huggingface/a.parquet", ".ipynb_checkpoints/a.jsonl",
)  # fmt: skip


def test_what_is_not_data_is_left_out_and_named(tmp_path):
    for name in ("a.jsonl", "latest state.json", *NOT_DATA):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a.jsonl.dvc").touch()  # DVC's own, with its data
    (tmp_path / ".gitignore").touch()
    found = survey(str(tmp_path))
    assert [path.name for path in found.files] == ["a.jsonl", "latest state.json"]
    folders = {name.split("/")[0] + "/" for name in NOT_DATA if "/" in name}
    expected = {name for name in NOT_DATA if "/" not in name} | folders
    assert {name.removeprefix(f"{tmp_path}/") for name in found.not_data} == expected


@pytest.mark.parametrize("name, message", [
    ("a.xlsx", "a spreadsheet; save its table as CSV"),
    ("a.tar.gz", "an archive; unpack it"), ("a.tgz", "an archive; unpack it"),
    ("a.pkl", "not a kind of file"),
    ("part-00000", "not a kind of file"),
    ("a.gz", "not a kind of file"),
    ("a.jsonl.part", "a download that is not finished"),
    ("a.parquet.incomplete", "a download that is not finished"),
    (".a.jsonl.icloud", "a download that is not finished"),
])  # fmt: skip
def test_other_files_stop_the_run(tmp_path, name, message):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{name}: {message}"):
        find_files(str(tmp_path))


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).touch()
    with pytest.raises(UserError, match=r"caf\\udce9.jsonl': its name is not UTF-8; rename"):
        survey(str(tmp_path))


def test_files_that_seem_to_be_missing():
    names = ("train-00000-of-00003", "train-00002-of-00003", "test-00000-of-00001", "a-1-of-2")
    files = [Path(f"data/{name}.parquet") for name in names]
    assert missing_shards(files) == ["only 2 of 3 files data/train-*-of-00003.parquet are here"]


def test_members_of_zip_archives_are_listed(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b.csv", "README.md", "a/b.jsonl"):
            archive.writestr(name, "")
    found = survey(str(tmp_path))
    assert found.files == [path]
    assert found.names == [f"{path}/a/b.jsonl", f"{path}/b.csv"]
    assert found.not_data == [f"{path}/README.md"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("c.docx", "")
    with pytest.raises(UserError, match="a.zip/c.docx: not a kind of file"):
        survey(str(tmp_path))


def test_one_file_may_be_named(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(f"{tmp_path}/b.jsonl")] == ["b.jsonl"]


def test_no_file_and_a_file_of_another_kind_are_errors(tmp_path):
    with pytest.raises(UserError, match="no data file"):
        find_files(str(tmp_path))
    (tmp_path / "chats.yaml").touch()
    with pytest.raises(UserError, match=r"no data file in .* but .*chats.yaml; put"):
        find_files(str(tmp_path))
    (tmp_path / "table.pkl").touch()
    with pytest.raises(UserError, match=r"table.pkl: not a kind of file"):
        find_files(str(tmp_path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(derandomize=True, deadline=None)
@given(st.lists(json_values, max_size=5), st.sampled_from([None, 0, 3]), st.booleans())
def test_array_elements_come_back_whatever_they_hold(tmp_path_factory, values, indent, ascii):
    path = tmp_path_factory.mktemp("array") / "data.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii), encoding="utf-8")
    assert [json.loads(row) for _, row in read_rows(path)] == values


@settings(derandomize=True, deadline=None)
@given(st.binary() | st.binary().map(lambda b: b"[" + b) | st.text('[]{},:"\\ \n').map(str.encode))
def test_any_bytes_give_rows_or_a_user_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "data.jsonl"
    path.write_bytes(content)
    try:
        rows = list(read_rows(path))
    except UserError:
        return
    assert all(row.strip() for _, row in rows)


def test_a_pipe_is_no_file(tmp_path):
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "x.jsonl")
    for raw in (tmp_path, tmp_path / "x.jsonl"):
        with pytest.raises(UserError, match="x.jsonl: not a regular file, but a pipe"):
            find_files(str(raw))
