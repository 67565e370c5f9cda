from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.runtime.prefill import choose_prefill

LENGTHS = st.lists(st.integers(1, 512), max_size=5, unique=True).map(sorted)


def plan(lengths, left, room):
    """The calls that read `left` tokens into `room`."""
    calls = []
    while left > 0:
        length = choose_prefill(lengths, left, room) or 1
        read = min(left, length)
        calls.append(length)
        left, room = left - read, room - read
    return calls


def test_takes_the_smallest_call_that_holds_all_unless_it_is_mostly_padding():
    assert plan((8, 32, 128), 5, 1024) == [8]
    assert plan((8, 32, 128), 20, 1024) == [32]
    assert plan((8, 32, 128), 100, 1024) == [128]
    assert plan((8, 32, 128), 36, 1024) == [32, 8]
    assert plan((8, 32, 128), 300, 1024) == [128, 128, 32, 8, 8]
    assert plan((32,), 3, 1024) == [32]


def test_reads_token_by_token_where_no_call_fits():
    assert plan((8, 32), 5, 7) == [1, 1, 1, 1, 1]
    assert plan((), 2, 9) == [1, 1]


@settings(derandomize=True, deadline=None)
@given(LENGTHS, st.integers(1, 600), st.integers(0, 600))
def test_never_writes_behind_the_cache_and_wastes_little(lengths, left, spare):
    room = left + spare
    for length in plan(lengths, left, room):
        assert length <= room
        read = min(left, length)
        if length > 2 * read:
            assert length == min(lengths)
        left, room = left - read, room - read
