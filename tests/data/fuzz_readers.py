"""A fuzz target for everything that reads raw data. Not part of `make test`.

Any bytes, as any kind of file, must end in a UserError, or in rows that are each converted or
rejected. Every converted row must render in Gemma's template and parse back. Anything else counts
as a crash, and more than 10 seconds as a hang.

    pip install atheris
    python tests/data/fuzz_readers.py -max_total_time=1800 -timeout=10 -max_len=4096 CORPUS_FOLDER
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
with atheris.instrument_imports(include=["gemma_finetune"]):
    import orjson
    from backports import zstd

    from gemma_finetune.data import loader
    from gemma_finetune.data.converter import to_messages
    from gemma_finetune.data.repair import REPAIRS
    from gemma_finetune.data.validation import check_rows, convert_lines
    from gemma_finetune.formats.chat_template import parse, render
    from gemma_finetune.utils.cli import UserError

FORMATS = ("auto", "sharegpt", "alpaca", "chatml")
RULES = ("refuse", "drop", "keep")
COLUMNS: dict[str, str] = {"user": "a", "assistant": "b", "split": "c"}
SEEDS = (
    b'\0{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], '
    b'"system": "S"}\n',
    b'\0[{"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]], '
    b'"split": "test"}, {"x": NaN}]',
    b'\0\xef\xbb\xbf{"messages": [{"role": "user", "content": '
    b'[{"type": "text", "text": "\\ud83d\\ude00"}]}]}\r\n',
    b"\0<|im_start|>user\nHi<|im_end|>\n"
    b"<|im_start|>assistant\nHello<|im_end|>\n\n<|im_start|>user\n",
    b'\4{"text": "<|im_start|>user\\nHi<|im_end|>\\n'
    b'<|im_start|>assistant\\nHello <bos><|im_end|>"}',
    b"\0" + zstd.compress(b'{"a": 1}'),
    b'\0{\n "instruction": "a",\n "output": "b",\n "system_prompt": "c"\n}\n{\n "x": [1]\n}\n',
    b'\0{"messages": [{"role": "developer", "content": "a", "name": ""}, '
    b'{"role": "user", "content": "x", "loss": 0}]}',
    b'\0{"Question": "a", "context": "b", "Answer": "c", "rationale": "d"}\n'
    b'\0[{"role": "User", "content": "a"}, {"role": "AI", "content": "<think>b</think>c"}]\n',
    b'\x18{"a": "x\\r\\ny", "b": "\\u200bz", "c": "test", "chosen": "w", "label": true}\n',
    b'\0{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", '
    b'"weight": 0}, {"role": "user", "content": "c"}, {"role": "bot", "content": null}]}\n',
)
FILE = Path(tempfile.mkdtemp()) / "data"
loader.BUFFER = 64  # so that small inputs are longer than the buffer, too


def target(data: bytes) -> None:
    """The first byte chooses the parameters and whether the rest is packed."""
    choice, content = (data[0], data[1:]) if data else (0, b"")
    FILE.write_bytes(zstd.compress(content) if choice & 4 else content)
    try:
        rows = list(loader.read_files([FILE]))
    except UserError:
        return
    columns = COLUMNS if choice & 8 else {}
    outcome = check_rows(rows, FORMATS[choice & 3], REPAIRS, columns, RULES[(choice >> 4) % 3])
    counts = outcome.counts["rows"]
    assert counts["accepted"] + counts["rejected"] == len(rows)
    assert outcome.rejected.count(b"\n") == counts["rejected"]
    converted = convert_lines(outcome.records.splitlines()).splitlines()
    assert len(converted) == counts["accepted"]
    for line in converted:
        messages = to_messages(orjson.loads(line))
        assert render(parse(render(messages))) == render(messages)


if __name__ == "__main__":
    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed{number}").write_bytes(seed)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
