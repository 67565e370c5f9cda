"""Files made to harm: refused in one plain sentence, in bounded time and memory, and nothing in
them is run.

All are read in one process that may take 4 GB of addresses and a minute of CPU: over that it dies,
and this fails.
"""

import io
import json
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from faults import small_files
from imports import ROOT

pytestmark = pytest.mark.slow

READ_ALL = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from faults.readers import READERS
from gemma_finetune.utils.errors import UserError
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
said = {}
for path in sorted(Path(sys.argv[3]).glob("*/*")):
    try:
        said[path.parent.name] = READERS[path.name](path)
    except UserError as error:
        said[path.parent.name] = str(error)
    except BaseException as error:
        said[path.parent.name] = f"crash: {error!r}"
print(json.dumps(said))
"""


class Touch:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def packed(entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(shape, data=b"", pad=0):
    header = (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
        + b" " * pad
        + b"\n"
    )
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + data


def claiming(content, size):
    """A zip whose entries claim another size in its directory."""
    content, place = bytearray(content), 0
    while (place := content.find(b"PK\x01\x02", place)) >= 0:
        content[place + 20 : place + 28] = struct.pack("<II", size, size)
        place += 4
    return bytes(content)


def safetensors(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def f32(start, end, shape=(4,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


METADATA = {"format_version": 3, "base_sha256": "0" * 64, **small_files.LORA}
NPZ = {
    "compressed": packed({"a.npy": npy((25_000_000,), bytes(100_000_000))}, zipfile.ZIP_DEFLATED),
    "sizes": claiming(small_files.npz(), 0x7FFFFFF0),
    "shape": packed({"a.npy": npy((10**12,), bytes(64))}),
    "overflow": packed({"a.npy": npy((2**62, 4), bytes(64))}),
    "negative": packed({"a.npy": npy((-1, 4), bytes(64))}),
    "header": packed({"a.npy": npy((4,), pad=1_000_000)}),
    "brackets": packed({"a.npy": npy("(" * 9_000)}),
    "endless": packed({"a.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535}),
    "no zip": npy((4,), bytes(16)),
    "same name": packed({"metadata.npy": npy((4,), bytes(16)), "metadata": npy((4,), bytes(16))}),
    "nested metadata": small_files.npz(metadata="[" * 100_000),
    "list as metadata": small_files.npz(metadata="[1]"),
    "unknown setting": small_files.npz(metadata=json.dumps(METADATA | {"__class__": "x"})),
    "huge rank": small_files.npz(metadata=json.dumps(METADATA | {"rank": 10**300})),
}
SAFETENSORS = {
    "endless header": safetensors({}, length=2**63),
    "long header": safetensors(b" " * 1000, length=10**9),
    "overlap": safetensors({"a": f32(0, 16), "b": f32(0, 16), "c": f32(8, 24)}, bytes(24)),
    "past the end": safetensors({"a": f32(0, 4 << 30, (1 << 30,))}, bytes(16)),
    "shape": safetensors({"a": f32(0, 16, (2**62, 2**62))}, bytes(16)),
    "hole": safetensors({"a": f32(0, 16), "b": f32(32, 48)}, bytes(48)),
    "no type": safetensors(
        {"a": {"dtype": "OBJECT", "shape": [4], "data_offsets": [0, 16]}}, bytes(16)
    ),
    "nested": safetensors(b"[" * 100_000),
}
YAML = {
    "tag": "lora: !!python/object/apply:os.system [touch {}]",
    "name": "lora: !!python/name:os.system",
    "number": f"lora: {{rank: {'9' * 5_000}}}",
    "date": "lora: {rank: 2001-99-99}",
    "bytes": b"lora: \xff\xfe",
    "control": "lora: {rank: \x07}",
    "list": "[lora]",
}
JSON = {
    "nested": b"[" * 100_000,
    "number": b"9" * 5_000,
    "bytes": b'"\xff\xfe"',
    "open": b'{"a": "',
}
RECIPES = JSON | {
    "numbers": b"[1, 2]",
    "regex": json.dumps([dict(regex="(", operation="*", algorithm_key="x")]).encode(),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, tokenizer_path):
    """{case: (name of the file, its content)}."""
    sound = small_files.all_kinds(tmp_path_factory.mktemp("sound"), tokenizer_path)
    twins = (
        tokenizer_path.read_bytes().replace(b"<eos>", b"<\x88os>").replace(b"<bos>", b"<\x88os>")
    )  # no UTF-8
    entries = {
        "TF_LITE_PREFILL_DECODE": small_files.tflite(),
        "TOKENIZER_MODEL": tokenizer_path.read_bytes(),
    }
    tasks = {
        "compressed": packed(entries | {"METADATA": bytes(100_000_000)}, zipfile.ZIP_DEFLATED),
        "endless number": packed(entries | {"METADATA": b"\xff" * 1_000_000}),
        "sizes": claiming(sound["model.task"], 0x7FFFFFF0),
        "twins": packed(
            entries | {"TOKENIZER_MODEL": twins, "METADATA": small_files.task_metadata()}
        ),
        "elsewhere": packed({f"../../{name}": content for name, content in entries.items()}),
    }
    header_end = (
        sound["model.litertlm"][:24] + struct.pack("<Q", 2**62) + sound["model.litertlm"][32:]
    )
    kinds = {
        "lora.npz": NPZ,
        "weights": SAFETENSORS,
        "peft": {
            name: small_files.peft()[0] + b"\n" + content for name, content in SAFETENSORS.items()
        },
        "params.yaml": {
            name: text if isinstance(text, bytes) else text.encode() for name, text in YAML.items()
        },
        "recipe.json": RECIPES,
        "rows.jsonl": JSON,
        "model.task": tasks,
        "model.litertlm": {"header": header_end},
        "model.tflite": {
            "text": b"\x10\0\0\0TFL3" + b"\xff" * 4096,
            "zeros": b"\x10\0\0\0TFL3" + bytes(4096),
        },
        "tokenizer.model": {
            "empty": b"",
            "zeros": bytes(4096),
            "ones": b"\xff" * 4096,
            "twins": twins,
        },
    }
    cases = {
        f"{kind}, {case}": (kind, content)
        for kind, some in kinds.items()
        for case, content in some.items()
    }
    for kind, content in sound.items():
        for part in (0, 0.1, 0.5, 0.9):
            cases[f"{kind}, cut at {part:.0%}"] = kind, content[: int(len(content) * part)]
    return cases


def test_every_one_is_refused_in_a_plain_sentence(hostile, tmp_path):
    for number, (kind, content) in enumerate(hostile.values()):
        (tmp_path / f"{number:03}").mkdir()
        (tmp_path / f"{number:03}" / kind).write_bytes(content)
    command = [sys.executable, "-c", READ_ALL, ROOT / "tests", ROOT / "scripts", tmp_path]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, timeout=600
    )
    assert done.returncode == 0, f"died: {done.returncode}\n{done.stderr[-2000:]}"
    said = dict(zip(hostile, json.loads(done.stdout.splitlines()[-1]).values(), strict=True))
    assert {case: text for case, text in said.items() if not text or text.startswith("crash")} == {}
    assert {
        case: text for case, text in said.items() if len(text) > 1000 or "Traceback" in text
    } == {}


def test_a_pickle_is_not_opened(tmp_path):
    from gemma_finetune.formats.lora_file import load_lora
    from gemma_finetune.utils.errors import UserError

    path, touched = tmp_path / "lora.npz", tmp_path / "touched"
    path.write_bytes(small_files.npz(evil=np.array([Touch(touched)], dtype=object)))
    with pytest.raises(UserError, match="not a readable npz file .*pickle"):
        load_lora(path)
    assert not touched.exists()


def test_a_name_that_leads_elsewhere_leads_nowhere(tmp_path):
    """An array's name is a key, never a path; and no base has such a module."""
    from gemma_finetune.formats.lora_file import check_fits, load_lora
    from gemma_finetune.utils.errors import UserError
    from gemma_finetune.utils.files import sha256

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    metadata = json.dumps(METADATA | {"base_sha256": sha256(tmp_path / "model.safetensors")})
    evil = {f"../../evil.{name[-6:]}": array for name, array in small_files.WEIGHTS.items()}
    (tmp_path / "lora.npz").write_bytes(small_files.npz(metadata=metadata, **evil))
    with pytest.raises(UserError, match="an adapter for ../../evil, which the base does not have"):
        check_fits(
            "lora.npz", load_lora(tmp_path / "lora.npz"), tmp_path, {small_files.MODULE: (6, 4)}
        )
    assert not list(tmp_path.parent.rglob("evil*"))
