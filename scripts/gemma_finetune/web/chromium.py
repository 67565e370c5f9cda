"""Opens a real Chromium without a window, through Playwright."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

from gemma_finetune.utils.errors import UserError

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# Containers have no user namespaces for the sandbox. The rest keeps Chromium off the network.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str:
    """The browser that CHROMIUM names, or one that is installed. UserError if there is none."""
    named = os.environ.get("CHROMIUM")
    found = filter(None, map(shutil.which, [named] if named else NAMES))
    path = next(found, None)
    if path is None:
        missing = f"CHROMIUM names {named}, which is not there" if named else "no Chromium is found"
        raise UserError(
            f"{missing}: install it (on Debian and Ubuntu `apt-get install chromium`) or set "
            "CHROMIUM to the program of a Chrome or Chromium; NO_BROWSER=1 leaves its tests out"
        )
    return path


@contextmanager
def open_chromium(
    seconds: float = 60, flags: Sequence[str] = (), **page_options: Any
) -> Iterator["Page"]:
    """An empty page of a Chromium without a window, which ends with the block.

    seconds: how long any one step on the page may take. flags: further ones of Chromium.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("playwright is not installed: pip install -r requirements-dev.lock")
    with sync_playwright() as playwright:
        arguments = [*_FLAGS, *flags]
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        try:
            page = browser.new_page(**page_options)
            page.set_default_timeout(seconds * 1000)
            yield page
        finally:
            browser.close()
