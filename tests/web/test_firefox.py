"""The page in a real Firefox: its engine reads Content-Security-Policy more strictly."""

import json

import pytest
from firefox import find_firefox, open_firefox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(find_firefox() is None, reason="Firefox is not installed"),
]

READY = (
    "!document.getElementById('text').disabled && "
    "document.getElementById('send').textContent === 'Send'"
)
ANSWER = "document.querySelector('#chat .model:last-child').textContent"


def test_conversations_get_the_desktops_answers(url, conversations):
    with open_firefox() as page:
        page.goto(url)
        page.wait_until(READY)
        for questions, expected in conversations[:2]:
            page.evaluate("document.getElementById('new').click()")
            page.wait_until(f"{READY} && !document.querySelector('#chat > *')")
            assert [ask(page, question) for question in questions] == expected


def ask(page, question):
    page.evaluate(f"document.getElementById('text').value = {json.dumps(question)}")
    page.evaluate("document.getElementById('form').requestSubmit()")
    page.wait_until(READY)
    return page.evaluate(ANSWER).removeprefix("Model: ")
