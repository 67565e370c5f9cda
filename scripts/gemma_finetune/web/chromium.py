"""Holds conversations on the page in a real Chromium, as a person would: for tests and figures."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

from gemma_finetune.utils.cli import UserError
from gemma_finetune.web.errors import page_error

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


def wait_until_ready(page: "Page") -> None:
    """Waits until the page has loaded its model."""
    page.get_by_text("is ready.").wait_for()


def new_chat(page: "Page") -> None:
    """Forgets what was said."""
    page.get_by_role("button", name="New chat").click()
    page.locator("#chat:empty").wait_for(state="attached")


def converse(page: "Page", questions: Sequence[str]) -> list[str]:
    """The answers to `questions` in a new chat."""
    new_chat(page)
    return [ask(page, question, turn) for turn, question in enumerate(questions)]


def ask(page: "Page", question: str, turn: int) -> str:
    """The answer to one question, the chat's number `turn`.

    ContextFull if the context has no room for the whole answer, UserError if the page shows another
    error.
    """
    errors = page.get_by_role("alert")
    new_error = errors.nth(errors.count())
    answer = page.locator("#chat .model[aria-busy=false]").nth(turn)
    text = page.get_by_label("Message", exact=True)
    text.fill(question)
    text.press("Enter")
    answer.or_(new_error).first.wait_for()
    if new_error.count():
        raise page_error(new_error.inner_text())
    return (answer.text_content() or "").removeprefix("Model: ")


def speed(page: "Page") -> float | None:
    """Tokens a second of the last answer, as the page shows it. None for a single token."""
    return _statistic(page, r"(\d+) tokens/s")


def first_token(page: "Page") -> float | None:
    """Seconds to the first token of the last answer, as the page shows it."""
    return _statistic(page, r"First token after ([\d.]+) s")


def _statistic(page: "Page", pattern: str) -> float | None:
    shown = re.search(pattern, page.locator("#stats").inner_text())
    return float(shown[1]) if shown else None
