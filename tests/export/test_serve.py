"""docs/serve.md: LiteRT-LM's command line on our bundles, and its server as the page asks it."""

import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from itertools import chain, islice
from pathlib import Path

import pytest

import readme
from gemma_finetune.base.corpus import conversations
from gemma_finetune.base.tiny_tokenizer import train_tokenizer
from gemma_finetune.export.bundle import create_litertlm
from gemma_finetune.inference.bundle_inference import BundleBackend
from gemma_finetune.inference.sampler import Sampler

pytestmark = pytest.mark.slow

PAGE = (readme.ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
PAGE_ADDRESS = "http://127.0.0.1:9379"
COMMAND = [str(Path(sys.executable).with_name("litert-lm"))]
VOCABULARY_SIZE = 320  # as the shared model's
QUESTIONS = ["Turn on the kitchen light.", "And the living room?", "ok"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, float32, parts) -> Path:
    """A folder with models/bundle/int8.litertlm, as the page's commands expect: the shared model,
    whose answers are random, with a vocabulary as the tiny base makes it. It is no Gemma's, and it
    has a piece for each character of a JSON schema.
    """
    folder = tmp_path_factory.mktemp("serve")
    vocabulary = folder / "tokenizer.model"
    turns = chain.from_iterable(islice(conversations(seed=0), 300))
    texts = chain.from_iterable(turns)
    vocabulary.write_bytes(train_tokenizer(texts, VOCABULARY_SIZE))
    (folder / "models/bundle").mkdir(parents=True)
    parts = dataclasses.replace(parts, tflite=float32, tokenizer=vocabulary)
    create_litertlm(parts, folder / "models/bundle/int8.litertlm")
    return folder


def surroundings(folder: Path) -> dict[str, str]:
    """Without the settings that a person has in the home folder."""
    return os.environ | {"LITERT_LM_DIR": str(folder / "home")}


@pytest.fixture(scope="module")
def address(folder) -> str:
    """Of a server, which is ended behind the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*COMMAND, "serve", "--port", str(port)]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=surroundings(folder), stdout=log, stderr=log
        )
    try:
        wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(timeout=20)


def wait_for(port: int, server: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the server did not start")


def history(question: int) -> list[dict]:
    """The chat up to a question. Its answers are not the model's own: a random model writes tokens
    that are others when they are read again as text.
    """
    messages: list[dict] = []
    for text in QUESTIONS[: question + 1]:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "Done."}]
    return messages[:-1]


@pytest.fixture(scope="module")
def answers(folder) -> list[str]:
    """The answer to each question, as scripts/chat.py gives it."""
    backend = BundleBackend(folder / "models/bundle/int8.litertlm", threads=1)
    found = []
    for question in range(len(QUESTIONS)):
        pieces = backend.generate(history(question), Sampler(), max_tokens=500)
        found.append("".join(pieces))
    backend.close()
    assert all(found)
    return found


def page_command(start: str) -> str:
    return next(command for command in readme.commands() if command.startswith(start))


def test_curl_gets_the_answer_that_chat_py_gives(address, folder, answers):
    command = page_command("curl -s http://127.0.0.1:9379").replace(PAGE_ADDRESS, address)
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=120
    )
    answer = json.loads(done.stdout)["choices"][0]
    assert answer["message"]["content"] == answers[0]
    assert answer["finish_reason"] == "stop"


def test_the_page_s_python_prints_the_answer_twice_and_then_json_of_the_schema(
    address, folder, answers
):
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1].replace(PAGE_ADDRESS, address)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    plain, constrained = done.stdout[:-1].rsplit("\n", 1)
    assert plain == f"{answers[0]}\n{answers[0]}"
    light = json.loads(constrained)
    assert light.keys() == {"room", "state"}
    assert light["room"] in ("kitchen", "hall") and light["state"] in ("on", "off")


@pytest.fixture(scope="module")
def ask(address):
    """Sends messages as the openai package does, and returns what it returns."""
    from openai import OpenAI

    def create(messages: list[dict], model: str = "models/bundle/int8.litertlm", **options):
        return client.chat.completions.create(model=model, messages=messages, **options)

    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield create


def test_later_turns_are_answered_as_in_chat_py_and_streamed_in_pieces(ask, answers):
    for question in (1, 2):
        answer = ask(history(question))
        assert answer.choices[0].message.content == answers[question]
    pieces = [p.choices[0].delta.content for p in ask(history(0), stream=True)]
    pieces = [piece for piece in pieces if piece]
    assert "".join(pieces) == answers[0] and len(pieces) > 1


def test_what_the_page_says_of_limits(ask):
    """A change of LiteRT-LM that makes the page wrong."""
    from openai import InternalServerError

    messages = [{"role": "user", "content": QUESTIONS[0]}]
    cut = ask(messages, max_completion_tokens=2)
    assert (cut.usage.completion_tokens, cut.choices[0].finish_reason) == (2, "stop")
    regex = ask(messages, response_format={"type": "regex", "regex": "yes|no"})
    assert regex.choices[0].message.content in ("yes", "no")
    whole = ask(messages)
    assert ask(messages, max_tokens=2).usage == whole.usage
    with pytest.raises(InternalServerError):
        ask(messages * 2)


def test_a_vocabulary_without_the_schema_s_characters_gets_an_error(ask, folder, exact):
    """As the page says. The server closes the connection where the error's text is not Latin-1."""
    from openai import APIConnectionError, InternalServerError

    bundle = folder / "models/bundle/bytes.litertlm"
    shutil.copyfile(exact, bundle)
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "light", "schema": schema}}
    assert ask(history(0), model="models/bundle/bytes.litertlm").choices[0].message.content
    with pytest.raises((InternalServerError, APIConnectionError)):
        ask(history(0), model="models/bundle/bytes.litertlm", response_format=response_format)


@pytest.mark.parametrize("name", ["describe", "run", "benchmark"])
def test_the_commands_work_and_leave_nothing_beside_the_model(folder, answers, tmp_path, name):
    bundle = tmp_path / "models/bundle/int8.litertlm"
    bundle.parent.mkdir(parents=True)
    bundle.hardlink_to(folder / "models/bundle/int8.litertlm")
    command = page_command(f"litert-lm {name}").replace("litert-lm", COMMAND[0], 1)
    if name == "benchmark":
        command += " -p 16 -d 4"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=surroundings(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    shown = {"describe": "Max Context Tokens:     256", "run": answers[0]}
    assert shown.get(name, "Decode speed:") in done.stdout
    assert list(bundle.parent.iterdir()) == [bundle]
