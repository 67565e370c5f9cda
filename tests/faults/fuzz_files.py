"""A fuzz target for every reader of files that we own; not part of `make test`. Needs `pip install
atheris`.

Any bytes, under any name, must be read or end in a UserError. Anything else is a crash, over 10
seconds a hang. (tests/data/fuzz_readers.py does the same for raw data.)

    python tests/faults/fuzz_files.py -max_total_time=1800 -timeout=10 -max_len=16384 \\
        -rss_limit_mb=4096 CORPUS_FOLDER
"""

import sys
import tempfile
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "scripts")]
with atheris.instrument_imports(
    include=["gemma_finetune", "flatbuffers", "ai_edge_litert", "litert_lm_builder"]
):
    from conftest import train_tokenizer
    from faults import small_files
    from faults.readers import READERS
    from gemma_finetune.utils.errors import UserError

FOLDER = Path(tempfile.mkdtemp())
NAMES = list(READERS)


def target(data: bytes) -> None:
    """The first byte chooses the kind of file."""
    name, content = NAMES[data[0] % len(NAMES)] if data else NAMES[0], data[1:]
    path = FOLDER / name
    path.write_bytes(content)
    try:
        READERS[name](path)
    except UserError:
        pass


if __name__ == "__main__":
    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(FOLDER / "seed.model", vocabulary_size=320)
    for name, content in small_files.all_kinds(FOLDER, tokenizer).items():
        (corpus / name).write_bytes(bytes([NAMES.index(name)]) + content)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
