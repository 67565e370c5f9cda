"""Files that are no model, or not whole, are refused in one line that names the file.

In a process of its own: LiteRT reads past the end of a file that is cut short, and would take
pytest with it.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gemma_finetune.inference.backend import open_backend
from gemma_finetune.utils.errors import UserError

from .conftest import CONFIG

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FILES = ("tflite", "task", "litertlm")
OPEN_ALL = f"""
import sys
from gemma_finetune.inference.backend import open_backend
from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.utils.errors import UserError

tokenizer, *paths = sys.argv[1:]
for path in paths:
    try:
        open_backend(None, path, {CONFIG!r}, tokenizer)
    except UserError as error:
        print(error)
"""


def refusals(paths, tokenizer):
    """What `open_backend` says of each path, a line each."""
    command = [sys.executable, "-c", OPEN_ALL, tokenizer, *paths]
    done = subprocess.run(
        map(str, command), cwd=ROOT / "scripts", capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"died after {done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_short_anywhere_is_refused_in_one_line(models, tokenizer_path, tmp_path, kind):
    content = models[kind].read_bytes()
    eighths = [len(content) * part // 8 for part in range(1, 8)]
    lengths = [0, 1, 7, 100, 5000, *eighths, len(content) - 1]
    paths = [tmp_path / f"{length}.{kind}" for length in lengths]
    for path, length in zip(paths, lengths, strict=True):
        path.write_bytes(content[:length])
    said = refusals(paths, tokenizer_path)
    assert [line.split(":")[0] for line in said] == [str(path) for path in paths]
    assert all("run the stage that makes it again" in line for line in said)


@pytest.mark.parametrize("kind", FILES)
def test_a_foreign_file_is_refused_in_one_line(models, tokenizer_path, tmp_path, kind):
    foreign = {
        "text": b"not a model",
        "png": (ROOT / "metrics/ladder.png").read_bytes(),
        "zip": b"PK\x05\x06" + bytes(18),
    }
    foreign |= {other: models[other].read_bytes() for other in FILES if other != kind}
    paths = [tmp_path / f"{name}.{kind}" for name in foreign]
    for path, content in zip(paths, foreign.values(), strict=True):
        path.write_bytes(content)
    paths.append(tmp_path / f"missing.{kind}")
    said = refusals(paths, tokenizer_path)
    assert [line.split(":")[0] for line in said] == [str(path) for path in paths]


def test_a_task_whose_model_is_cut_short_is_refused(models, tokenizer_path, tmp_path):
    """The zip itself is whole."""
    path = tmp_path / "model.task"
    with zipfile.ZipFile(models["task"]) as whole, zipfile.ZipFile(path, "w") as cut:
        for entry in whole.infolist():
            content = whole.read(entry)
            if "PREFILL" in entry.filename:
                content = content[:-1000]
            cut.writestr(entry.filename, content)
    assert len(refusals([path], tokenizer_path)) == 1


def test_another_network_than_a_language_model_is_refused(models, tokenizer_path, tmp_path):
    """A sound .tflite without signatures."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [schema.SubGraphT()]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "other.tflite").write_bytes(bytes(builder.Output()))
    (said,) = refusals([tmp_path / "other.tflite"], tokenizer_path)
    assert "other.tflite: no language model of this project" in said


def test_a_hugging_face_directory_whose_weights_are_cut_short_is_refused(models, tmp_path):
    shutil.copytree(models["keras"], tmp_path / "merged")
    weights = tmp_path / "merged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError, match="merged/model.safetensors: damaged or cut short"):
        open_backend(None, str(tmp_path / "merged"), CONFIG)


def test_a_folder_without_a_model_and_a_tokenizer_that_is_not_there_are_named(models, tmp_path):
    with pytest.raises(UserError, match="no Gemma in Hugging Face layout"):
        open_backend(None, str(tmp_path), CONFIG)
    with pytest.raises(UserError, match="nowhere.model: no such file"):
        open_backend(None, str(models["tflite"]), CONFIG, str(tmp_path / "nowhere.model"))


def test_an_adapter_and_another_s_file_are_no_model_to_talk_to(tmp_path):
    for name in ("lora.npz", "model.gguf", "int8"):
        with pytest.raises(UserError, match=rf"{name}: not a model to talk to; name a \.task"):
            open_backend(None, str(tmp_path / name), CONFIG)


def test_an_empty_prompt_is_refused():
    command = [sys.executable, "scripts/chat.py", "--prompt", " "]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: --prompt is empty: nothing to answer\n"


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("script", ["chat", "generate"])
def test_the_scripts_end_with_that_line(models, tokenizer_path, tmp_path, script, kind):
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(models[kind].read_bytes()[:-1000])
    (tmp_path / "questions.jsonl").write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n')
    model = ["--model", path, "--tokenizer", tokenizer_path]
    if script == "chat":
        rest = ["--prompt", "Hi"]
    else:
        rest = [tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"]
    command = [sys.executable, f"scripts/{script}.py", *model, *rest]
    done = subprocess.run(map(str, command), cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {path}: not a ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "answers.jsonl").exists()
