"""The page's folder, npm's ways to fail, and the server: without a browser or a network."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

from gemma_finetune.utils.errors import UserError
from gemma_finetune.web import chromium
from gemma_finetune.web.layout import PAGE, find_bundles, lay_out
from gemma_finetune.web.npm import install
from gemma_finetune.web.server import address, open_server
from imports import ROOT, SCRIPTS

MEDIAPIPE = "@mediapipe/tasks-genai"


@pytest.fixture
def modules(tmp_path):
    """A node_modules with files where the layout looks for them."""
    folder = tmp_path / "node_modules"
    for name, text in {
        "@litert-lm/core/dist/load.js": "import { createWasmLib } from '@litertjs/wasm-utils';",
        "@litert-lm/core/dist/load.d.ts": "types",
        "@litert-lm/core/wasm/litertlm_wasm_internal.wasm": "wasm",
        "@litertjs/wasm-utils/dist/index.js": "export {};",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def bundles(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("int4.litertlm", "int8.litertlm", "int8.task"):
        (folder / name).write_bytes(b"LITERTLM, as if")
    (folder / "int8.json").write_text(json.dumps({"notice": "Gemma is provided under its terms"}))
    (folder / "int4.json").write_text(json.dumps({"notice": ""}))
    return folder


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """Puts an npm of a few lines of shell in front of the PATH."""

    def write(code):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "npm").write_text(f"#!/bin/sh\n{code}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return write


def test_the_folder_has_page_runtime_and_bundles_with_int8_first(tmp_path, modules, bundles):
    out = tmp_path / "site"
    lay_out(out, modules, find_bundles(bundles))
    assert json.loads((out / "models.json").read_text()) == [
        {"name": "int8.litertlm", "bytes": 15},
        {"name": "int4.litertlm", "bytes": 15},
    ]
    assert {path.name for path in (out / "models").iterdir()} == {
        "int8.litertlm",
        "int4.litertlm",
        "NOTICE",
    }
    assert (out / "models/NOTICE").read_text() == "Gemma is provided under its terms\n"
    assert (out / "runtime/load.js").read_text().endswith("from './wasm-utils.js';")
    assert (out / "runtime/wasm/litertlm_wasm_internal.wasm").is_file()
    assert (out / "runtime/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert not (out / "runtime/load.d.ts").exists()
    lay_out(out, modules, find_bundles(bundles)[:1])  # and again
    assert not (out / "models/int4.litertlm").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path, modules, bundles):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("dear")
    with pytest.raises(UserError, match="home holds other files: name an empty folder"):
        lay_out(tmp_path / "home", modules, find_bundles(bundles))
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", [".git/HEAD", "CNAME", "diary.txt", "models.json/letter.txt"])
def test_what_others_put_into_the_folder_is_not_replaced(tmp_path, modules, bundles, name):
    """The folder is pushed to a host with Git, or another program's models.json lies there."""
    out = tmp_path / "site"
    if not name.startswith("models.json"):
        lay_out(out, modules, find_bundles(bundles))
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(UserError, match=f"site holds other files.*{name.split('/')[0]}"):
        lay_out(out, modules, find_bundles(bundles))
    assert (out / name).read_text() == "mine"


def test_a_folder_with_another_models_json_is_left_alone(tmp_path, modules, bundles):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/models.json").write_text("{}")
    with pytest.raises(UserError, match="app holds other files"):
        lay_out(tmp_path / "app", modules, find_bundles(bundles))


def test_the_page_names_no_other_host_and_its_policy_allows_none():
    for name in ("index.html", "chat.js", "worker.js", "style.css"):
        assert "://" not in (PAGE / name).read_text()
    policy = " ".join((PAGE / "index.html").read_text().split('content="')[2].split('"')[0].split())
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert {source for sources in rules.values() for source in sources} == {
        "'none'",
        "'self'",
        "'wasm-unsafe-eval'",
        "blob:",
        "data:",
    }


def test_every_package_is_pinned_with_its_hash_and_without_a_registry():
    pinned = json.loads((PAGE / "package.json").read_text())["dependencies"]
    packages = json.loads((PAGE / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == pinned == {"@litert-lm/core": "0.17.1"}
    assert len(packages) == 2
    for package in packages.values():
        assert package["integrity"].startswith("sha512-") and "resolved" not in package


def test_models_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="has no .litertlm: make the bundles with `dvc repro"):
        find_bundles(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a pointer of Git LFS; fetch the model",
        ),
        (b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (b"PK\x03\x04" + bytes(26) + b"METADATA", "is a .task by its content"),
        (b"", "is an empty file"),
    ],
)
def test_a_model_that_is_something_else_is_named(bundles, content, message):
    (bundles / "mine.litertlm").write_bytes(content)
    with pytest.raises(UserError, match=f"mine.litertlm {message}"):
        find_bundles(bundles)


def test_a_model_in_place_of_its_folder_is_told_from_an_empty_folder(bundles):
    with pytest.raises(UserError, match="int8.litertlm is a file: name its folder, .*bundle$"):
        find_bundles(bundles / "int8.litertlm")


def test_what_macos_leaves_beside_a_file_is_no_model(bundles):
    (bundles / "._int8.litertlm").write_bytes(b"\0\5\x16\7\0\2")
    assert [path.name for path in find_bundles(bundles)] == ["int8.litertlm", "int4.litertlm"]


@pytest.mark.parametrize("content", ["[]", '{"notice": 3}'])
def test_a_manifest_of_another_form_is_named(tmp_path, modules, bundles, content):
    (bundles / "int8.json").write_text(content)
    with pytest.raises(UserError, match="int8.json: not what the stage `bundle` writes"):
        lay_out(tmp_path / "site", modules, find_bundles(bundles))


def test_a_folder_with_a_model_s_name_is_named(bundles):
    (bundles / "mine.litertlm").mkdir()
    with pytest.raises(UserError, match="mine.litertlm is not a file: remove it"):
        find_bundles(bundles)


def test_without_npm_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is missing.*install Node.js 18.*apt-get install npm"):
        install(PAGE, tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


def test_npm_s_own_reason_is_kept(tmp_path, fake_npm):
    fake_npm("echo 'npm error code EINTEGRITY' >&2; exit 1")
    with pytest.raises(UserError, match=r"npm could not fetch the web runtime \(code EINTEGRITY\)"):
        install(PAGE, tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


def test_npm_has_a_time_limit(tmp_path, fake_npm):
    fake_npm("exec sleep 60")
    with pytest.raises(UserError, match="npm did not fetch the web runtime in 1 s"):
        install(PAGE, tmp_path / "runtime", seconds=1)


def test_npm_runs_no_scripts_and_once(tmp_path, fake_npm):
    fake_npm('echo "$@" >> ../../calls; mkdir node_modules')
    for _ in range(2):
        assert install(PAGE, tmp_path / "runtime").is_dir()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].startswith("ci --ignore-scripts")


def test_the_server_tells_types_and_to_ask_again(tmp_path):
    (tmp_path / "a.wasm").write_bytes(b"wasm")
    with open_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"{address(server)}a.wasm", timeout=60) as reply:
            headers = reply.headers
        server.shutdown()
    assert headers["Content-Type"] == "application/wasm" and headers["Cache-Control"] == "no-cache"
    assert not any(name.lower().startswith("cross-origin") for name in headers)


def test_a_port_in_use_is_named(tmp_path):
    with open_server(tmp_path, 0) as server:
        with pytest.raises(UserError, match=f"port {server.server_port} is in use: name another"):
            open_server(tmp_path, server.server_port)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "nowhere"], "error: nowhere has no .litertlm"),
        (["--port", "70000"], "error: --port 70000: a port is a number from 0 to 65535"),
    ],
)
def test_the_script_ends_with_one_line(tmp_path, arguments, says):
    done = subprocess.run(
        [sys.executable, SCRIPTS / "web.py", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(says) and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_script_serves_the_page_until_ctrl_c(tmp_path, modules, bundles):
    runtime = tmp_path / ".web/runtime"
    runtime.mkdir(parents=True)
    modules.rename(runtime / "node_modules")
    shutil.copyfile(PAGE / "package-lock.json", runtime / "package-lock.json")
    command = [sys.executable, SCRIPTS / "web.py", "--port", "0", "--models", bundles]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        url = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{url}models.json", timeout=60) as reply:
            assert [one["name"] for one in json.load(reply)] == ["int8.litertlm", "int4.litertlm"]
        with urllib.request.urlopen(url, timeout=60) as reply:
            assert reply.read() == (PAGE / "index.html").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "interrupted\n")
    assert process.returncode == 130


def test_without_a_browser_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(chromium, "NAMES", ("no-such-browser",))
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(UserError, match="no Chromium is found: install it .*apt-get install"):
        chromium.find_chromium()
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "chrome"))
    with pytest.raises(UserError, match="CHROMIUM names .*chrome, which is not there"):
        chromium.find_chromium()


def test_the_page_about_mediapipe_shows_the_lines_that_its_test_runs():
    page = (ROOT / "docs/web.md").read_text(encoding="utf-8")
    shown = re.search(r"```js\n(.*?)\n// All turns", page, re.DOTALL)[1]
    folder = ROOT / "tests/web/mediapipe"
    version = json.loads((folder / "package.json").read_text())["dependencies"][MEDIAPIPE]
    for on_the_page, in_the_test in {
        f"'{MEDIAPIPE}';  // {version}": "'./tasks-genai/genai_bundle.mjs';",
        f"node_modules/{MEDIAPIPE}/wasm": "tasks-genai/wasm",
        "int8.task": "model.task",
        "512": "Number(new URLSearchParams(location.search).get('context'))",
    }.items():
        assert shown.count(on_the_page) == 1
        shown = shown.replace(on_the_page, in_the_test)
    assert shown in (folder / "chat.mjs").read_text()
