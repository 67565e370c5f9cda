"""The same results in the same order, with processes or without."""

import pytest

from gemma_finetune.data import parallel
from gemma_finetune.data.parallel import chunks, map_ordered
from gemma_finetune.utils.cli import UserError


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
        for n in range(100):
            read.append(n)
            yield [n]

    results = map_ordered(double, items())
    next(results)
    assert len(read) <= 2 * parallel.WORTH_IT
    results.close()


@pytest.mark.parametrize("count", [1, 20])
def test_an_error_of_a_worker_reaches_the_caller(count):
    with pytest.raises(UserError, match="row 0"):
        list(map_ordered(refuse, ([n] for n in range(count))))
