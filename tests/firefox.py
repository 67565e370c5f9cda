"""A real Firefox without a window. It speaks WebDriver BiDi itself, so no driver is needed."""

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

import aiohttp

PROGRAMS = ("firefox-esr", "firefox", "/Applications/Firefox.app/Contents/MacOS/firefox")
SECONDS = 60  # for each step


def find_firefox() -> str | None:
    """The program that FIREFOX names, or else the system's."""
    chosen = os.environ.get("FIREFOX")
    return next(filter(None, map(shutil.which, [chosen] if chosen else PROGRAMS)), None)


class Page:
    """One tab. Its methods raise AssertionError with what Firefox or the page says."""

    def __init__(self, address: str) -> None:
        self._runner = asyncio.Runner()
        self._numbers = count(1)
        self._runner.run(self._connect(address))
        self._call("session.new", capabilities={})
        self._tab = self._call("browsingContext.getTree")["contexts"][0]["context"]

    def goto(self, url: str) -> None:
        self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str):
        """The value of a JavaScript expression: text, a number or a boolean."""
        found = self._call(
            "script.evaluate",
            expression=expression,
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert found["type"] == "success", found
        return found["result"].get("value")

    def wait_until(self, expression: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, self.evaluate("document.body.innerText")
            time.sleep(0.05)

    def close(self) -> None:
        self._runner.run(self._session.close())
        self._runner.close()

    async def _connect(self, address: str) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(f"{address}/session", max_msg_size=0)

    def _call(self, method: str, **params) -> dict:
        return self._runner.run(asyncio.wait_for(self._exchange(method, params), SECONDS))

    async def _exchange(self, method: str, params: dict) -> dict:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while (answer := await self._socket.receive_json()).get("id") != number:
            pass  # an event
        assert answer["type"] == "success", answer
        return answer["result"]


@contextmanager
def open_firefox() -> Iterator[Page]:
    """An empty page of a Firefox with a new profile, which ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        said = Path(profile) / "said.txt"
        options = ["--headless", "--no-remote", "--profile", profile]
        with open(said, "w") as file:
            process = subprocess.Popen(
                [find_firefox(), *options, "--remote-debugging-port", "0", "about:blank"],
                stdout=file,
                stderr=file,
            )
        try:
            page = Page(_address(said, process))
            try:
                yield page
            finally:
                page.close()
        finally:
            process.kill()
            process.wait(timeout=SECONDS)


def _address(said: Path, process: subprocess.Popen) -> str:
    """Where it listens: it says so when it has started."""
    mark, deadline = "WebDriver BiDi listening on ", time.monotonic() + SECONDS
    while mark not in said.read_text():
        assert process.poll() is None and time.monotonic() < deadline, said.read_text()
        time.sleep(0.05)
    return said.read_text().split(mark)[1].split()[0]
