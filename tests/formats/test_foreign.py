import pytest

from gemma_finetune.formats.foreign import foreign


@pytest.mark.parametrize(
    "content, what",
    [
        (b"<!DOCTYPE html>\n<html><body>404 Not Found", "a web page, perhaps an error or a login"),
        (b"\n<HTML lang=en>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b'{"error":"Access to the model is restricted"}', 'text that begins with \'{"error":'),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"outs:\n- md5: 0123", "a pointer of DVC"),
        (b"GGUF\3\0\0\0", "a GGUF"),
        (b"\x1f\x8b\x08\0", "packed with gzip"),
        (b"\0\0\0\0PK\3\4" + bytes(26) + b"TF_LITE", "a .task by its content; rename it"),
        (b"PK\3\4" + bytes(26) + b"int8.litertlm", "a ZIP archive; unpack it"),
        (b"\x1c\0\0\0TFL3", "a .tflite by its content; rename it"),
        (b"", "an empty file"),
    ],
)
def test_a_file_that_is_something_else_is_told_what_it_is(tmp_path, content, what):
    path = tmp_path / "int8.litertlm"
    path.write_bytes(content)
    assert foreign(path).startswith(what)


@pytest.mark.parametrize(
    "suffix, head",
    [("litertlm", b"LITERTLM\1"), ("task", b"PK\3\4"), ("task", b"\0\0\0\0PK\3\4")],
)
def test_a_damaged_file_begins_as_its_suffix_says(tmp_path, suffix, head):
    path = tmp_path / f"int8.{suffix}"
    path.write_bytes(head)
    assert foreign(path) is None


def test_bytes_that_say_nothing_and_no_file_are_nothing_known(tmp_path):
    (tmp_path / "zeros.litertlm").write_bytes(bytes(100))
    assert foreign(tmp_path / "zeros.litertlm") is None
    assert foreign(tmp_path / "missing.litertlm") is None
