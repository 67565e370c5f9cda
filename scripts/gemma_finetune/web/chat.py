"""Holds conversations on the page, in any browser: for tests and figures."""

import json
import re
import time
from collections.abc import Sequence
from typing import Any, Protocol

from gemma_finetune.utils.errors import UserError

_READY = (
    "!document.getElementById('text').disabled && "
    "document.getElementById('send').textContent === 'Send'"
)
_ERRORS = "document.querySelectorAll('#chat [role=alert]')"
_ANSWERS = "document.querySelectorAll('#chat .model[aria-busy=false]')"
_PAUSE = 0.02  # seconds between two looks at the page


class Page(Protocol):
    """A browser's tab: `firefox.Page`, or Playwright's."""

    def goto(self, url: str) -> object: ...

    def evaluate(self, expression: str) -> Any: ...


class ContextFull(UserError):
    """The context has no room for the question or for the rest of its answer."""


class Chat:
    """The page, open in a tab.

    Every step waits until the page has done it. UserError with the page's own words if it shows an
    error, and if the step takes longer than `seconds`.
    """

    def __init__(self, page: Page, seconds: float = 60) -> None:
        self._page = page
        self._seconds = seconds

    def wait_until_ready(self) -> None:
        """Waits until the page has loaded its model."""
        self._wait_until(_READY, errors=0)

    def new_chat(self) -> None:
        """Forgets what was said."""
        self._page.evaluate("document.getElementById('new').click()")
        is_new = f"{_READY} && !document.querySelector('#chat > :not(.hint)')"
        self._wait_until(is_new, self._count_errors())

    def converse(self, questions: Sequence[str]) -> list[str]:
        """The answers to `questions` in a new chat."""
        self.new_chat()
        return [self.ask(question, turn) for turn, question in enumerate(questions)]

    def ask(self, question: str, turn: int) -> str:
        """The answer to one question, the chat's number `turn`.

        ContextFull if the context has no room for the whole answer.
        """
        errors = self._count_errors()
        self._page.evaluate(f"document.getElementById('text').value = {json.dumps(question)}")
        self._page.evaluate("document.getElementById('form').requestSubmit()")
        self._wait_until(f"{_ANSWERS}.length > {turn}", errors)
        answer = self._page.evaluate(f"{_ANSWERS}[{turn}].textContent")
        return answer.removeprefix("Model: ")

    def speed(self) -> float | None:
        """Tokens a second of the last answer, as the page shows it. None for a single token."""
        return self._statistic(r"(\d+) tokens/s")

    def first_token(self) -> float | None:
        """Seconds to the first token of the last answer, as the page shows it."""
        return self._statistic(r"First token after ([\d.]+) s")

    def _statistic(self, pattern: str) -> float | None:
        shown = self._page.evaluate("document.getElementById('stats').innerText")
        found = re.search(pattern, shown)
        return float(found[1]) if found else None

    def _count_errors(self) -> int:
        return self._page.evaluate(f"{_ERRORS}.length")

    def _wait_until(self, condition: str, errors: int) -> None:
        """Waits until a JavaScript condition holds. errors: how many the page shows already."""
        deadline = time.monotonic() + self._seconds
        # In one look, for a full context shows the answer and the error at once.
        look = f"{_ERRORS}[{errors}]?.innerText || Boolean({condition})"
        while (found := self._page.evaluate(look)) is not True:
            if found:
                raise _page_error(found)
            if time.monotonic() > deadline:
                shown = self._page.evaluate("document.body.innerText")
                raise UserError(f"the page took more than {self._seconds:.0f} s; it shows: {shown}")
            time.sleep(_PAUSE)


def _page_error(text: str) -> UserError:
    """The exception for an error that the page shows."""
    is_full = "that the model can hold" in text or "that this model can hold" in text
    kind = ContextFull if is_full else UserError
    return kind(f"the page says: {text}")
