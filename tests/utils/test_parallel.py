"""The same results in the same order, with processes or without."""

import pickle
import sys

import pytest

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.utils import parallel
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.parallel import chunks, map_ordered
from imports import ROOT


def double(chunk):
    return [2 * n for n in chunk]


def refuse(chunk):
    raise UserError(f"row {chunk[0]}")


def test_chunks_are_bounded_by_rows_and_by_bytes(monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK_ROWS", 2)
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 10)
    rows = [b"a", b"b", b"c" * 10, b"d", b"e" * 99]
    assert list(chunks(rows)) == [rows[:2], rows[2:3], rows[3:]]
    assert list(chunks([])) == []


@pytest.mark.parametrize("count", [0, 1, 7, 8, 30])
def test_results_come_in_order(count):
    assert list(map_ordered(double, ([n] for n in range(count)))) == [[2 * n] for n in range(count)]


def test_input_is_read_only_a_little_ahead():
    read = []

    def items():
        for n in range(10_000):
            read.append(n)
            yield [n]

    results = map_ordered(double, items())
    next(results)
    assert len(read) <= 1000  # two or three for each core
    results.close()


@pytest.mark.parametrize("count", [1, 20])
def test_an_error_of_a_worker_reaches_the_caller(count):
    with pytest.raises(UserError, match="row 0"):
        list(map_ordered(refuse, ([n] for n in range(count))))


def test_a_cluster_without_ray_ends_in_the_command_that_installs_it(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="not installed.*pip install (ray==[0-9.]+)") as raised:
        list(map_ordered(double, ([n] for n in range(20))))
    pinned = str(raised.value).split("`")[1].removeprefix("pip install ")
    assert pinned in (ROOT / "requirements-dev.txt").read_text().splitlines()


def test_few_chunks_do_not_need_the_cluster(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert list(map_ordered(double, [[1], [2]])) == [[2], [4]]


def test_a_rejection_can_cross_processes():
    copy = pickle.loads(pickle.dumps(Rejection("too_long", "is long")))
    assert (copy.reason, copy.message, str(copy)) == ("too_long", "is long", "is long")
