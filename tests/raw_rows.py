"""Raw rows as the tests of columns check them."""

import json

import pytest

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check

ALLOWED = ["line_breaks", "trim", "join_system", "merge_turns", "drop_trailing_user"]
TURNS = [("human", "Hi"), ("gpt", "Hello")]
USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
TURN_PAIR = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


def checked(row, columns=None, format="auto"):
    return check(json.dumps(row).encode(), format, ALLOWED, columns or {})


def rejected(row, columns=None, format="auto"):
    with pytest.raises(Rejection) as rejection:
        checked(row, columns, format)
    return rejection.value.reason, rejection.value.message
