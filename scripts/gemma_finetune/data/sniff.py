"""What the unpacked content of a file is, told by its first bytes; and what it must not be."""

import json
import re
from typing import Any

from gemma_finetune.data.row_keys import ROW_KEYS, is_system
from gemma_finetune.data.split import split_in_name
from gemma_finetune.data.texts import to_utf8
from gemma_finetune.data.turn_list import known_name

# Keys under which files hold their rows. Other keys do, too, where the file is one object.
CONTAINERS = {"data", "rows", "examples", "items", "records", "samples"}

# {the first bytes: what the file is, and what to do}. None of these can be read.
_REFUSED = {
    b"\xff\xfe\0\0": f"UTF-32; convert it with {to_utf8('UTF-32')}",
    b"\0\0\xfe\xff": f"UTF-32; convert it with {to_utf8('UTF-32')}",
    b"\xff\xfe": f"UTF-16; convert it with {to_utf8('UTF-16')}",
    b"\xfe\xff": f"UTF-16; convert it with {to_utf8('UTF-16')}",
    b"version https://git-lfs": (
        "a pointer of Git LFS, not the data; fetch it with `git lfs pull`"
    ),
    b"/annex/objects/": "a pointer of git-annex, not the data; fetch it with `git annex get`",
    b"PK\x03\x04": "a ZIP archive inside another file; unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; save its table as CSV (UTF-8)",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"%PDF": "a PDF; only its text could be trained on: write it as JSON Lines",
    b"\x89PNG": "a picture; move it out of data.raw",
    b"\xff\xd8\xff": "a picture; move it out of data.raw",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"\x89HDF": "an HDF5 file; write the table as Parquet or JSON Lines",
    b"\x93NUMPY": "a NumPy array; write the rows as JSON Lines",
    b"FEA1": "an old Feather file; write the table as Parquet",
    b"ORC": "an ORC file; write the table as Parquet",
    b"Obj\x01": "an Avro file; write the table as Parquet or JSON Lines",
    b"\x80\x03": "a Python pickle; write the rows as JSON Lines",
    b"\x80\x04": "a Python pickle; write the rows as JSON Lines",
    b"\x80\x05": "a Python pickle; write the rows as JSON Lines",
}
_PAGE = re.compile(
    rb"<(!doctype|html|head|body|\?xml|error)\b", re.IGNORECASE
)  # a page, or an error of a storage service
_COLUMNS = re.compile(r'\{\s*"[^"]*"\s*:\s*\{\s*"0"\s*:')  # pandas' to_json as it is by default
_INDEX = re.compile(r'\{\s*"\d+"\s*:\s*\{\s*".*?\}\s*,\s*"\d+"\s*:\s*\{\s*"', re.DOTALL)
_SPLIT = re.compile(r'\{\s*"columns"\s*:\s*\[[^\[\]]*\]\s*,\s*"(index|data)"\s*:\s*\[\s*[^{\s]')
_LIST = re.compile(r'\{\s*"(instruction|prompt|question|query)"\s*:\s*\[\s*"', re.IGNORECASE)
_HEADER = re.compile(r'[ "\w.-]{1,40}([,;\t][ "\w.-]{1,40})+')
_JSON_STARTS = ("{", "[", '"', "<|im_start|>")
# The same where the name says otherwise: not a chat's `[12/03/2024, 10:00]`, nor a column `[id]`.
_JSON_START = re.compile(r"""\s*([\[{]\s*([\[{"'\]}]|$)|"|<\|im_start\|>)""")
_decoder = json.JSONDecoder()


def refuse(head: bytes, suffix: str) -> None:
    """ValueError if the content cannot be read: what it is, and what to do."""
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise ValueError(f"is {what}")
    if _PAGE.match(head.lstrip(b"\xef\xbb\xbf \r\n\t")):
        raise ValueError(
            "is a web page or an XML message, perhaps an error that was saved in place of the "
            "file; fetch the file again"
        )
    if head[257:262] == b"ustar":
        raise ValueError("is a tar archive; unpack it, and put the files into data.raw")
    _refuse_nulls(head[:1024])
    _refuse_wide(head[:1024])
    control = sum(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in head[:512])
    if control > 0.3 * len(head[:512]):
        raise ValueError(
            f"is neither text nor a table (it begins with {head[:8]!r}); convert it to JSON Lines"
        )
    if suffix in (".parquet", ".arrow", ".feather", ".zip") and not _begins_like_json(head):
        raise ValueError(
            f"is not what its name says (it begins with {head[:20]!r}); fetch the file again, or "
            "give it the suffix of its content"
        )


def _refuse_nulls(head: bytes) -> None:
    """ValueError for text that goes on as null bytes."""
    text = head.rstrip(b"\0")
    if text and b"\0" not in text and len(head) - len(text) > 16:
        raise ValueError(
            f"holds nothing but null bytes from byte {len(text):,} on, as a copy that was cut short"
            " does; fetch the file again"
        )


def _refuse_wide(head: bytes) -> None:
    """ValueError if the content is text of two or four bytes a character, without a mark."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    encoding = None
    if even + odd > 0.6 * len(head) > 2:
        encoding = "UTF-32LE" if head[0] else "UTF-32BE"
    elif odd > 0.2 * len(head) > 1 and not even:
        encoding = "UTF-16LE"
    elif even > 0.2 * len(head) > 1 and not odd:
        encoding = "UTF-16BE"
    if encoding:
        raise ValueError(f"is {encoding} without a mark; convert it with {to_utf8(encoding)}")


def _begins_like_json(head: bytes) -> bool:
    return head.decode("utf-8", "replace").lstrip("\ufeff \r\n\t").startswith(_JSON_STARTS)


def text_kind(head: bytes, complete: bool, suffix: str) -> str:
    """How text is split into rows: csv, im_text, array, members, objects, whole or lines.

    head: the first bytes; complete: whether they are all. ValueError if it is none of these.
    """
    text = head.decode("utf-8", "replace").lstrip("\ufeff \r\n\t\v\f")
    if text.startswith("<|im_start|>"):
        return "im_text"
    if suffix in (".csv", ".tsv") and not (text[:1] in ("[", "{") and _JSON_START.match(text)):
        return "csv"
    if suffix == ".txt" and not any(map(_JSON_START.match, text.splitlines())):
        _refuse_other_text(text, suffix)
    if text.startswith("["):
        return _array_kind(text)
    if text.startswith("{"):
        return _object_kind(text, complete, suffix)
    _refuse_other_text(text, suffix)
    return "lines"


def _refuse_other_text(text: str, suffix: str) -> None:
    """ValueError for a table or prose under the name of JSON or of `<|im_start|>` text."""
    first, _, rest = text.partition("\n")
    lines = [line.lstrip() for line in text[:65536].splitlines() if line.strip()]
    if any(map(_JSON_START.match, lines)):
        return
    if _HEADER.fullmatch(first.strip()) and rest.strip():
        raise ValueError("looks like a table (CSV or TSV); name it .csv or .tsv")
    if suffix == ".txt" and lines:
        raise ValueError(
            "is plain text, neither <|im_start|> text nor JSON; write its turns as JSON Lines, or "
            "move it out of data.raw if it is not data"
        )


def _array_kind(text: str) -> str:
    """Of text that begins with `[`: array, or lines or whole if the array is a row itself."""
    first_line, _, rest = text.partition("\n")
    rest = rest.lstrip()
    element = _decode(text[1:].lstrip())
    if is_turn(element):
        # A list of messages is a row. One a line, or one over several lines.
        return "lines" if _decode(first_line) is not None else "whole"
    if first_line.strip() == "[]" and rest.startswith("{"):
        return "lines"  # JSON Lines whose first row is broken
    return "array"


def _object_kind(text: str, complete: bool, suffix: str) -> str:
    """Of text that begins with `{`: lines, objects (over several lines each) or members."""
    end = _end(text)
    alone = complete and end is not None and not text[end:].strip()
    if alone or end is None:
        if orient := _orient(text, alone):
            raise ValueError(
                f"is a table as pandas writes it with orient={orient!r}; write it by rows: "
                'df.to_json(…, orient="records", lines=True)'
            )
        keys = _keys_of_rows(text)
        # One object in a file for one row a line, or an object that is broken, is a row.
        one_value = suffix == ".json" and (alone or not complete)
        if keys and (one_value or any(map(_is_container, keys))):
            return "members"
    if end is None:
        return "objects" if text.partition("\n")[0].rstrip() == "{" else "lines"
    return "objects" if "\n" in text[:end].strip() else "lines"


def _orient(text: str, alone: bool) -> str | None:
    """The orient of pandas in which an object is a table. None if it is none. ValueError if it
    holds a row under each key.

    alone: whether the whole object is known, and not only its beginning.
    """
    if _COLUMNS.match(text):
        return "columns"
    if _INDEX.match(text):
        return "index"
    if _SPLIT.match(text):
        return "split"
    if _LIST.match(text):
        return "list"
    table = _decode(text) if alone else None
    if not isinstance(table, dict) or len(table) < 2:
        return None
    parts = list(table.values())
    if any(not isinstance(part, dict) or not part or is_turn(part) for part in parts):
        return None
    if any(part.keys() != parts[0].keys() for part in parts):
        return None
    first = next(iter(table))
    if known_name(first, ROW_KEYS) in ROW_KEYS or is_system(first):
        return "columns"
    if not first.isdigit():
        raise ValueError(
            f"is one object with a row under each of its keys ({first[:40]!r}, …), as pandas "
            "writes it with orient='index'; write the rows as an array, or one a line "
            '(of a table, df.to_json(…, orient="records", lines=True))'
        )
    return "index"


_KEY = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*', re.DOTALL)
_COMMA = re.compile(r"\s*,")
_OPENING = re.compile(r"\[\s*")
UNFINISHED = object()


def _keys_of_rows(text: str) -> set[str]:
    """The keys of an object that hold arrays of rows. `text`: the object, or its beginning.

    None of them if the object is a row itself: it has a key of one of the formats.
    """
    found = set()
    position = 1
    while key := _KEY.match(text, position):
        first = _first_element(text, key.end())
        # A first element that does not end in the part that was looked at is a long turn, or a row.
        is_of_a_row = key[1] in ROW_KEYS or is_system(key[1])
        has_rows = not is_of_a_row if first is UNFINISHED else _is_row(first)
        if is_of_a_row and not has_rows:
            return set()
        if has_rows:
            found.add(key[1])
        end = _end(text, key.end())
        comma = _COMMA.match(text, end) if end else None
        if not comma:
            break
        position = comma.end()
    return found


def _first_element(text: str, position: int) -> Any:
    """The first element of the array at a position. None if there is no array, or no element.

    UNFINISHED if it is an object that does not end.
    """
    opening = _OPENING.match(text, position)
    if not opening:
        return None
    element = _decode(text, opening.end())
    unfinished = element is None and text.startswith("{", opening.end())
    return UNFINISHED if unfinished else element


def _is_container(key: str) -> bool:
    """Whether a key is one under which people keep rows, or names a split."""
    return key.strip().lower() in CONTAINERS or split_in_name(key, "") is not None


def _is_row(element: Any) -> bool:
    if isinstance(element, list):
        return bool(element) and is_turn(element[0])
    return isinstance(element, dict) and not is_turn(element)


def is_turn(value: Any) -> bool:
    """Whether a value is a turn of a conversation, not a row."""
    return isinstance(value, dict) and any(key.strip().lower() in ("role", "from") for key in value)


def _end(text: str, position: int = 0) -> int | None:
    """Where the JSON value at a position ends. None if it does not end, or is not JSON."""
    try:
        return _decoder.raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return None


def _decode(text: str, position: int = 0) -> Any:
    """The JSON value at a position. None if it does not end, or is not JSON."""
    try:
        return _decoder.raw_decode(text, position)[0]
    except (ValueError, RecursionError):
        return None
