"""The bundles of the shared model, and the page with them, laid out below a path of a host."""

import threading
from pathlib import Path

import pytest

from exported import bundles, exact, parts, quantized  # noqa: F401
from gemma_finetune.web.layout import lay_out
from gemma_finetune.web.npm import install
from gemma_finetune.web.server import address, open_server
from imports import ROOT, SCRIPTS


@pytest.fixture(scope="session")
def modules(tmp_path_factory) -> Path:
    """node_modules of the page, from npm. Read only."""
    return install(SCRIPTS / "web", tmp_path_factory.mktemp("npm") / "runtime", seconds=120)


@pytest.fixture(scope="session")
def site(tmp_path_factory, modules, bundles, exact) -> Path:  # noqa: F811
    """A host's root folder. The page is in sub/path/, with two models."""
    root = tmp_path_factory.mktemp("host")
    (root / "sub").mkdir()
    paths = [exact, bundles["litertlm"]]
    lay_out(root / "sub" / "path", SCRIPTS / "web", modules, paths, ROOT / "LICENSE")
    return root


@pytest.fixture(scope="session")
def url(site) -> str:
    """Of the page, while a server runs that sends no header about security."""
    server = open_server(site, port=0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"{address(server)}sub/path/"
    server.shutdown()
    server.server_close()
    thread.join(timeout=60)
