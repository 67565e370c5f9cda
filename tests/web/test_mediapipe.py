"""A .task in MediaPipe's runtime for the web, on WebGPU computed by the CPU: `pytest -m webgpu`.

Takes the bundle of the last run, models/bundle/int8.task.
"""

import shutil
from pathlib import Path

import pytest

from gemma_finetune.inference.bundle_inference import BundleBackend
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.web.chromium import open_chromium
from gemma_finetune.web.npm import install
from gemma_finetune.web.server import served
from imports import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.webgpu]

HERE = Path(__file__).parent / "mediapipe"
TASK = ROOT / "models/bundle/int8.task"
QUESTIONS = ["Turn on the kitchen light.", "And the hall too."]
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


@pytest.fixture
def url(tmp_path):
    modules = install(HERE, tmp_path / "npm")
    site = tmp_path / "site"
    shutil.copytree(modules / "@mediapipe/tasks-genai", site / "tasks-genai")
    shutil.copyfile(HERE / "chat.mjs", site / "chat.mjs")
    shutil.copyfile(TASK, site / "model.task")
    (site / "index.html").write_text('<script type="module" src="chat.mjs"></script>')
    with served(site) as address:
        yield address


def test_turns_rendered_by_the_page_get_the_desktop_s_answers(url):
    backend = BundleBackend(TASK, threads=1)
    messages = []
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        answer = "".join(backend.generate(messages, Sampler(), 64))
        messages.append({"role": "assistant", "content": answer.strip()})
    expected = [message["content"] for message in messages[1::2]]
    with open_chromium(seconds=300, flags=WEBGPU) as page:
        page.goto(f"{url}?context={backend.context_length}")
        page.wait_for_function("Boolean(window.converse)")
        assert page.evaluate("questions => converse(questions)", QUESTIONS) == expected
    backend.close()
