"""Rows by number."""

import json

import numpy as np

from gemma_finetune.data.lines import random_access


def test_rows_by_number(tmp_path):
    lines = [json.dumps({"n": n, "text": "é" * n}).encode() + b"\n" for n in range(5)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(lines))
    with open(path, "rb") as file:
        row = random_access(file, np.array([len(line) for line in lines]))
        assert [row(n)["n"] for n in (3, 0, 4)] == [3, 0, 4]


def test_an_empty_file_has_no_rows_but_opens(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    with open(tmp_path / "rows.jsonl", "rb") as file:
        random_access(file, np.array([], int))
