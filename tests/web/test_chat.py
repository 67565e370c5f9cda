"""What a chat on the page says when the page does not get on, without a browser."""

import pytest

from gemma_finetune.utils.errors import UserError
from gemma_finetune.web.chat import Chat, ContextFull


class Tab:
    """A page that gives the same value for every expression but its whole text."""

    def __init__(self, value):
        self.value = value

    def goto(self, url):
        raise NotImplementedError

    def evaluate(self, expression):
        return "Loading…" if expression == "document.body.innerText" else self.value


def test_a_page_that_never_gets_ready_is_not_waited_for_for_ever():
    with pytest.raises(UserError, match="the page took more than 0 s; it shows: Loading…"):
        Chat(Tab(False), seconds=0).wait_until_ready()


@pytest.mark.parametrize(
    "text, kind",
    [
        ("The conversation fills the 9 tokens that this model can hold", ContextFull),
        ("a.litertlm is cut short", UserError),
    ],
)
def test_an_error_of_the_page_ends_the_wait_with_its_words(text, kind):
    with pytest.raises(UserError) as raised:
        Chat(Tab(text)).wait_until_ready()
    assert type(raised.value) is kind and str(raised.value) == f"the page says: {text}"
