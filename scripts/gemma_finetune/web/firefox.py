"""Opens a real Firefox without a window.

Firefox speaks WebDriver BiDi itself, so no driver is needed.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from gemma_finetune.utils.errors import UserError

NAMES = ("firefox-esr", "firefox", "/Applications/Firefox.app/Contents/MacOS/firefox")
_START_SECONDS = 60


def find_firefox() -> str | None:
    """The browser that FIREFOX names, or one that is installed."""
    named = os.environ.get("FIREFOX")
    return next(filter(None, map(shutil.which, [named] if named else NAMES)), None)


class Page:
    """One tab. seconds: how long any one step on it may take; UserError after that."""

    def __init__(self, address: str, seconds: float) -> None:
        self._seconds = seconds
        self._runner = asyncio.Runner()
        self._numbers = count(1)
        self._runner.run(self._connect(address))
        self._call("session.new", capabilities={})
        self._tab = self._call("browsingContext.getTree")["contexts"][0]["context"]

    def goto(self, url: str) -> None:
        self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression: text, a number or a boolean."""
        found = self._call(
            "script.evaluate",
            expression=expression,
            target={"context": self._tab},
            awaitPromise=True,
        )
        if found["type"] != "success":
            raise RuntimeError(f"Firefox cannot evaluate {expression}: {found}")
        return found["result"].get("value")

    def close(self) -> None:
        self._runner.run(self._session.close())
        self._runner.close()

    async def _connect(self, address: str) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(f"{address}/session", max_msg_size=0)

    def _call(self, method: str, **params: Any) -> dict:
        try:
            return self._runner.run(asyncio.wait_for(self._exchange(method, params), self._seconds))
        except TimeoutError:
            raise UserError(f"Firefox has not answered within {self._seconds:.0f} s ({method})")

    async def _exchange(self, method: str, params: dict) -> dict:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while (answer := await self._socket.receive_json()).get("id") != number:
            pass  # an event
        if answer["type"] != "success":
            raise RuntimeError(f"Firefox answers {answer} to {method}")
        return answer["result"]


@contextmanager
def open_firefox(seconds: float = 60) -> Iterator[Page]:
    """An empty page of a Firefox with a new profile, which ends with the block."""
    program = find_firefox()
    if program is None:
        raise UserError(
            "no Firefox is found: install it (on Debian and Ubuntu `apt-get install firefox-esr`) "
            "or set FIREFOX to its program"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        log = Path(profile) / "log.txt"
        options = ["--headless", "--no-remote", "--profile", profile]
        with open(log, "w") as file:
            process = subprocess.Popen(
                [program, *options, "--remote-debugging-port", "0", "about:blank"],
                stdout=file,
                stderr=file,
            )
        try:
            page = Page(_address(log, process), seconds)
            try:
                yield page
            finally:
                page.close()
        finally:
            process.kill()
            process.wait(timeout=_START_SECONDS)


def _address(log: Path, process: subprocess.Popen) -> str:
    """Where Firefox listens. It prints that once it has started."""
    mark, deadline = "WebDriver BiDi listening on ", time.monotonic() + _START_SECONDS
    while mark not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise UserError(f"Firefox did not start: {log.read_text()}")
        time.sleep(0.05)
    return log.read_text().split(mark)[1].split()[0]
