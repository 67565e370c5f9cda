"""What tests share, made on the spot: a tokenizer with Gemma's pieces, a random Gemma 3, clones."""

import io
import json
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

# gto first: its import closes every log handler, absl's with pytest's own stderr in it.
import gto  # noqa: F401
import numpy as np
import pytest
import sentencepiece

import exported
import gemma_finetune.config  # noqa: F401 - sets Keras's backend before a test imports Keras
import parameters
from clones import SECRETS, SMALLER, clone_working_tree, commit_stand_ins, run

# Triton, which comes with torch's CUDA build and is not needed, crashes when TensorFlow is loaded
# already. The stages load torch's part that looks for it first; tests run in any order.
sys.modules.setdefault("triton", None)

# A shell's background jobs ignore Ctrl-C, and their children inherit that; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

SENTENCES = [
    "Turn on the light in the kitchen, please.",
    "What is the temperature in the living room?",
    "Set a timer for ten minutes and play some quiet music.",
    '{"name": "set_light", "arguments": {"room": "kitchen", "brightness": 40}}',
    "The quick brown fox jumps over the lazy dog near the old river bank.",
]


def train_tokenizer(
    path: Path, vocabulary_size: int = 320, pieces: tuple = (), sentences: list = ()
) -> Path:
    """A BPE vocabulary with Gemma's special pieces at ids 0 to 3 and its turn markers.

    pieces: further ones that are never split. sentences: further text to learn from.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([*SENTENCES, *sentences] * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        user_defined_symbols=[
            "<start_of_turn>",
            "<end_of_turn>",
            "\n",
            '":\u2581',
            '",\u2581"',
            '":\u2581{"',
            '{"',
            *pieces,
        ],
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return path


def random_backbone(vocabulary_size: int, seed: int = 0, **overrides):
    """A Gemma 3 of 6 layers (5 local, 1 global), hidden 32, with random weights that make attention
    matter.
    """
    import keras

    from gemma_finetune.models.loader import keras_hub

    keras.utils.set_random_seed(seed)
    sizes = dict(
        vocabulary_size=vocabulary_size,
        image_size=None,
        num_layers=6,
        num_query_heads=4,
        num_key_value_heads=1,
        hidden_dim=32,
        intermediate_dim=64,
        head_dim=16,
        use_post_ffw_norm=True,
        use_post_attention_norm=True,
        use_sliding_window_attention=True,
        sliding_window_size=16,
        dtype="float32",
    )
    backbone = keras_hub.models.Gemma3Backbone(**sizes | overrides)
    rng = np.random.default_rng(seed)
    for weight in backbone.weights:
        weight.assign(rng.normal(0, 0.3 if weight.ndim > 1 else 0.1, weight.shape))
    return backbone


# Folders whose tests share fixtures that take long to make: an export, and all its rungs.
TOGETHER = {
    "evaluation": "export",
    "export": "export",
    "formats": "export",
    "inference": "export",
    "runtime": "export",
    "web": "export",
}

# What takes 15 s and more, the longest first: so both processes end with short files, together.
LONGEST = (
    "export",
    "tests/test_pipeline.py",
    "tests/training/test_hosts.py",
    "tests/training/test_resume.py",
    "tests/training/test_interruption.py",
    "tests/utils/test_ray.py",
    "tests/training/test_attention.py",
    "tests/training/test_model.py",
    "tests/test_own_data.py",
    "tests/test_grid.py",
    "tests/training/test_trainer.py",
    "tests/base/test_tiny.py",
    "tests/test_machines.py",
    "tests/training/test_distribution.py",
    "tests/test_remote.py",
    "tests/test_reruns.py",
    "tests/test_run_cache.py",
    "tests/test_queue.py",
    "tests/models/test_lora.py",
    "tests/base/test_preset.py",
    "tests/reporting/test_report.py",
)


def scope_of(nodeid: str) -> str:
    """What goes to one process as a whole: a file, or folders that belong together."""
    file = nodeid.split("::")[0]  # tests/FOLDER/test_x.py, or tests/test_x.py
    return TOGETHER.get(file.split("/")[1], file)


def place_of(item: pytest.Item) -> int:
    scope = scope_of(item.nodeid)
    return LONGEST.index(scope) if scope in LONGEST else len(LONGEST)


def pytest_configure(config):
    """Has JAX keep what XLA compiles: many tests and their child processes need the same programs.

    Compiling takes more of a small training's time than all of its steps, and an eager call of a
    model compiles a hundred small programs.
    """
    if not hasattr(config, "workerinput"):  # xdist's workers inherit the variables
        folder = TemporaryDirectory(prefix="xla-")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if config.getoption("numprocesses", None):  # so that they do not fight for the cores
            os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("NO_BROWSER"):
        left_out = [item for item in items if item.get_closest_marker("browser")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=place_of)


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config, log):
    """Gives the tests of a file to one process, and those of folders that belong together."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FolderScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return scope_of(nodeid)

    return FolderScheduling(config, log)


def pytest_ignore_collect(collection_path, config):
    """`-m "not slow"` does not even import slow files: that alone takes a minute."""
    if config.option.markexpr == "not slow" and collection_path.suffix == ".py":
        if "pytestmark = pytest.mark.slow\n" in collection_path.read_text(encoding="utf-8"):
            return True
    return None


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


@pytest.fixture(scope="session")
def tokenizer(tokenizer_path):
    from gemma_finetune.formats.tokenizer import GemmaTokenizer

    return GemmaTokenizer(tokenizer_path)


@pytest.fixture(scope="session")
def function_tokenizer_path(tmp_path_factory) -> Path:
    """As `tokenizer_path`, with the pieces of function calls: FunctionGemma's kind."""
    import function_model

    folder = tmp_path_factory.mktemp("function_tokenizer")
    return function_model.train_vocabulary(folder / "tokenizer.model")


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory, tokenizer, tokenizer_path) -> Path:
    """A random Gemma 3 in Hugging Face layout, as the base stage leaves it. Read only."""
    import shutil

    from gemma_finetune.base.preset import export_backbone
    from gemma_finetune.formats.hf_layout import finish_layout

    directory = tmp_path_factory.mktemp("base") / "base"
    directory.mkdir()
    export_backbone(random_backbone(tokenizer.vocabulary_size), directory)
    shutil.copyfile(tokenizer_path, directory / "tokenizer.model")
    finish_layout(directory, "float32")
    return directory


@pytest.fixture(scope="session")
def talkative(tmp_path_factory, tokenizer, tokenizer_path) -> Path:
    """A merged model, in Hugging Face layout. Read only."""
    directory = tmp_path_factory.mktemp("talkative")
    exported.write_talkative(directory, tokenizer_path, tokenizer)
    return directory


@pytest.fixture(scope="session")
def float32(tmp_path_factory, talkative) -> Path:
    """The same as `.tflite`. Read only."""
    from gemma_finetune.export.converter import convert_to_tflite

    path = tmp_path_factory.mktemp("tflite") / "float32.tflite"
    convert_to_tflite(talkative, path, exported.PREFILL_LENGTHS, exported.CACHE_LENGTH)
    return path


@pytest.fixture
def write_params(tmp_path, monkeypatch):
    """Writes params.yaml with changes {"lora.rank": 4} to a temporary folder and moves there."""

    def write(changes):
        params = parameters.resolved()
        for key, value in changes.items():
            *parents, last = key.split(".")
            node = params
            for parent in parents:
                node = node[parent]
            node[last] = value
        (tmp_path / "params.yaml").write_text(json.dumps(params))
        monkeypatch.chdir(tmp_path)
        return tmp_path / "params.yaml"

    return write


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """A clone of the working tree, nothing run yet. What a test changes here, later tests see."""
    return clone_working_tree(tmp_path_factory.mktemp("clone") / "repository")


@pytest.fixture(scope="session")
def reproduced(clone):
    """The clone after one run of every stage, with smaller settings, and what that printed."""
    changes = [part for key, value in SMALLER.items() for part in ("-S", f"{key}={value}")]
    with mock.patch.dict(os.environ, SECRETS):
        return clone, run(clone, "dvc", "exp", "run", *changes, seconds=1500)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory) -> Path:
    """A clone whose dvc.lock knows its code and stand-ins for outputs. Read only: copy it."""
    return commit_stand_ins(clone_working_tree(tmp_path_factory.mktemp("stand-ins") / "repository"))
