import os
import sys

import pytest

import tflite

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "seed, starts_anew", [(None, True), ("random", True), ("7", True), ("0", False)]
)
def test_the_hash_seed_is_0_so_that_the_same_model_gives_the_same_bytes(
    seed, starts_anew, monkeypatch
):
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(sys, "argv", ["scripts/tflite.py"])
    monkeypatch.setattr(
        os, "environ", {"HOME": "/home"} | ({"PYTHONHASHSEED": seed} if seed else {})
    )
    tflite.fix_hash_seed()
    environment = {"HOME": "/home", "PYTHONHASHSEED": "0"}
    assert calls == (
        [(sys.executable, [sys.executable, "scripts/tflite.py"], environment)]
        if starts_anew
        else []
    )
