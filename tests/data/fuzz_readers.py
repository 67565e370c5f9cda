"""A fuzz target for everything that reads raw data. Not part of `make test`.

Any bytes, as any kind of file, must end in a UserError, or in rows that are each converted or
rejected. Every converted row must render in Gemma's template and parse back. Anything else counts
as a crash, and more than 10 seconds as a hang.

    pip install atheris
    python tests/data/fuzz_readers.py -max_total_time=1800 -timeout=10 -max_len=4096 CORPUS_FOLDER
"""

import bz2
import gzip
import io
import lzma
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
with atheris.instrument_imports(include=["gemma_finetune"]):
    import orjson
    from backports import zstd

    from gemma_finetune.data import loader, readers, texts
    from gemma_finetune.data.converter import to_messages
    from gemma_finetune.data.repair import REPAIRS
    from gemma_finetune.data.validation import check_rows, convert_lines
    from gemma_finetune.formats.chat_template import parse, render
    from gemma_finetune.utils.errors import UserError

FORMATS = ("auto", "sharegpt", "alpaca", "chatml")
PACKERS = (bytes, zstd.compress, gzip.compress, bz2.compress, lzma.compress)
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".zip")
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, compression="none")
    return sink.getvalue()


def arrow_stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow_file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pa.feather.write_feather(table, sink, compression="uncompressed")
    return sink.getvalue()


def zip_archive(name: str, content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return sink.getvalue()


TABLE = pa.Table.from_pylist([{"messages": TURNS, "split": "test"}, {"messages": TURNS[:1]}])
CHATS = pa.Table.from_pylist([{"prompt": "a", "completion": "b", "n": float("nan")}])
# The first two bytes of an input choose how the rest is read: see `target`.
RULES = ("refuse", "drop", "keep")
COLUMNS: dict[str, str] = {"user": "a", "assistant": "b", "split": "c"}
SEEDS = (
    b'\0\0{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], '
    b'"system": "S"}\n',
    b'\0\1[{"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]], '
    b'"split": "test"}, {"x": NaN}]',
    b'\0\0\xef\xbb\xbf{"messages": [{"role": "user", "content": '
    b'[{"type": "text", "text": "\\ud83d\\ude00"}]}]}\r\n',
    b"\0\4<|im_start|>user\nHi<|im_end|>\n"
    b"<|im_start|>assistant\nHello<|im_end|>\n\n<|im_start|>user\n",
    b'\4\0{"text": "<|im_start|>user\\nHi<|im_end|>\\n'
    b'<|im_start|>assistant\\nHello <bos><|im_end|>"}',
    b"\0\0" + zstd.compress(b'{"a": 1}'),
    b'\0\0{\n "instruction": "a",\n "output": "b",\n "system_prompt": "c"\n}\n{\n "x": [1]\n}\n',
    b'\0\0{"messages": [{"role": "developer", "content": "a", "name": ""}, '
    b'{"role": "user", "content": "x", "loss": 0}]}',
    b'\0\1{"v": [1], "data": [{"instruction": "a", "output": "b"}, {"text": "]}"}], "z": {}}',
    b'\0\1{"train": [[{"role": "user", "content": "a"}]], "test": []}',
    b'\0\0[{"role": "user", "content": "a"}]\n[{"from": "gpt", "value": "b"}]\n',
    b'\0\2instruction,output\r\n"a, ""b""\nc",d\n\n"[1]",\n',
    b"\0\3prompt\tcompletion\nHi\tCaf\xe9\n",
    b'\0\2sep=;\nmessages;split\n"[{""role"": ""user""}]";dev\n',
    b"\0\5" + parquet(TABLE),
    b"\0\5" + parquet(CHATS),
    b"\0\6" + arrow_stream(TABLE),
    b"\0\6" + arrow_file(CHATS),
    b"\0\7" + zip_archive("a/test.csv", b"text,label\na,b\n"),
    b"\0\1" + '{"text": "é"}'.encode("utf-16-le"),
    b'\0\0{"Question": "a", "context": "b", "Answer": "c", "rationale": "d"}\n'
    b'\0\0[{"role": "User", "content": "a"}, {"role": "AI", "content": "<think>b</think>c"}]\n',
    b'\x18\0{"a": "x\\r\\ny", "b": "\\u200bz", "c": "test", "chosen": "w", "label": true}\n',
    b'\0\0{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", '
    b'"weight": 0}, {"role": "user", "content": "c"}, {"role": "bot", "content": null}]}\n',
    b'\0\0{"tools": [{"type": "function", "function": {"name": "f", "parameters": '
    b'{"type": "object", "properties": {"x": {"type": "integer"}}}}}], "messages": '
    b'[{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": '
    b'[{"function": {"name": "f", "arguments": "{\\"x\\": 1}"}}]}, '
    b'{"role": "tool", "content": "{}"}, {"role": "assistant", "content": "b"}]}\n',
    b'\0\0{"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", '
    b'"value": "{\\"name\\": \\"f\\", \\"arguments\\": {}}"}, {"from": "observation", '
    b'"value": "1.0"}, {"from": "gpt", "value": "b"}], "tools": "[{\\"name\\": \\"f\\"}]"}\n',
    b'\0\0{"question": "a", "answer": "b", "train_mask": "[0, 1]", "labels": [-100], '
    b'"lossMask": 1e999, "docs": ["c"], "System Prompt": "d", "response_b": "e", '
    b'"analysis": "f"}\n',
)
FOLDER = Path(tempfile.mkdtemp())
for module in (readers, texts):  # so that small inputs are longer than the buffer, too
    module.BUFFER = 64


def target(data: bytes) -> None:
    """The first byte chooses the format and how the rest is packed, the second the file's name."""
    choice, name, content = (data[0], data[1], data[2:]) if len(data) > 2 else (0, 0, b"")
    pack = PACKERS[(choice >> 2) % len(PACKERS)]
    path = FOLDER / f"data{SUFFIXES[name % len(SUFFIXES)]}"
    path.write_bytes(pack(content))
    try:
        rows = list(loader.read_files([path]))
    except UserError:
        return
    columns = COLUMNS if choice & 8 else {}
    rule = RULES[(choice >> 4) % 3]
    outcome = check_rows(rows, FORMATS[choice & 3], REPAIRS, columns, rule, raw=FOLDER.as_posix())
    counts = outcome.counts["rows"]
    assert counts["accepted"] + counts["rejected"] == len(rows)
    assert outcome.rejected.count(b"\n") == counts["rejected"]
    converted = convert_lines(outcome.records.splitlines()).splitlines()
    assert len(converted) == counts["accepted"]
    for row in map(orjson.loads, converted):
        if "tools" in row:  # FunctionGemma's template has tests of its own
            continue
        messages = to_messages(row)
        assert render(parse(render(messages))) == render(messages)


if __name__ == "__main__":
    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed{number}").write_bytes(seed)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
