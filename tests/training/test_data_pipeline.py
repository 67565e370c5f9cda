import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.training.data_pipeline import Batches, as_dataset, assign_rows, pack
from gemma_finetune.training.examples import Example
from training_rows import every_row

pytestmark = pytest.mark.slow


def make_examples(lengths, seed=0):
    rng = np.random.default_rng(seed)
    examples = []
    for length in lengths:
        ids = rng.integers(4, 99, length).astype("int32")
        examples.append(Example(ids, np.arange(length) >= length // 2))
    return examples


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200))
@settings(derandomize=True, deadline=None)
def test_every_conversation_is_packed_once_and_no_row_overflows(lengths):
    rows = assign_rows(lengths, 64)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= 64 for row in rows)
    assert len(rows) <= 1.7 * max(1, sum(lengths) / 64) + 1  # best fit's bound


def test_packing_wastes_little():
    lengths = np.random.default_rng(0).integers(20, 120, 1000)
    packed = pack(make_examples(lengths), 256)
    tokens = (every_row(packed).segment_ids > 0).sum()
    assert tokens == packed.count_tokens() == lengths.sum()
    assert tokens / (len(packed) * 256) > 0.95


def test_labels_are_the_supervised_tokens_and_positions_come_one_before():
    examples = make_examples([10, 7, 30, 16])
    found = []
    for ids, _, positions, labels, weights in zip(*every_row(pack(examples, 32)), strict=True):
        used = weights > 0
        np.testing.assert_array_equal(ids[positions[used] + 1], labels[used])
        found += labels[used].tolist()
    wanted = [token for ids, supervised in examples for token in ids[supervised]]
    assert sorted(found) == sorted(wanted)


def test_no_position_is_twice_in_a_row_and_padding_points_past_its_end():
    """Also in rows that are all padding: XLA is told so (model.py)."""
    packed = pack(make_examples([10, 7, 30, 16]), 32)
    rows = packed.make([0, 1], blank=1)
    for positions, weights in zip(rows.positions, rows.weights, strict=True):
        assert len(set(positions)) == len(positions)
        assert ((positions < 32) == (weights > 0)).all()


def test_a_prediction_never_crosses_into_another_conversation():
    packed = pack(make_examples([16, 16, 16, 16]), 32)
    for _, segments, positions, _, weights in zip(*every_row(packed), strict=True):
        used = positions[weights > 0]
        np.testing.assert_array_equal(segments[used], segments[used + 1])


def token_ids(batches):
    return np.concatenate([batches[i][0]["token_ids"] for i in range(len(batches))])


def test_batches_have_one_shape_and_see_every_row_each_epoch_in_a_new_seeded_order():
    rows = pack(make_examples([30] * 7), 32)
    orders = []
    for epoch in (1, 2):
        batches = Batches(rows, 2, seed=1, epoch=epoch)
        seen = [batches[i] for i in range(len(batches))]
        assert {x["token_ids"].shape for x, _, _ in seen} == {(2, 32)}
        assert sum(weights.sum() for _, _, weights in seen) == every_row(rows).weights.sum()
        orders.append(token_ids(batches))
        np.testing.assert_array_equal(orders[-1], token_ids(Batches(rows, 2, seed=1, epoch=epoch)))
    assert not np.array_equal(*orders)


def test_a_part_of_an_epoch_is_what_the_whole_has_there():
    rows = pack(make_examples([30] * 7), 32)
    whole = token_ids(Batches(rows, 2, seed=1))
    np.testing.assert_array_equal(token_ids(Batches(rows, 2, seed=1, stop=1)), whole[:2])
    np.testing.assert_array_equal(token_ids(Batches(rows, 2, seed=1, start=1, stop=4)), whole[2:])


def test_a_batch_knows_its_conversations():
    examples = make_examples([20, 30, 10, 32, 25, 7])
    batches = Batches(pack(examples, 32), 2, seed=1)
    numbers = [batches.numbers(i) for i in range(len(batches))]
    assert sorted(n for some in numbers for n in some) == [1, 2, 3, 4, 5, 6]
    for index, some in enumerate(numbers):
        tokens = batches[index][0]["token_ids"]
        wanted = np.concatenate([examples[n - 1].ids for n in some])
        assert sorted(tokens[tokens > 0]) == sorted(wanted)


def test_parts_of_a_batch_are_together_the_whole(monkeypatch):
    """Also of the last batch, whose last rows are filled up."""
    rows = pack(make_examples([30] * 5), 32)
    whole = Batches(rows, 4, seed=1)
    parts = [Batches(rows, 4, seed=1, share=(n, 2)) for n in range(2)]
    for index in range(len(whole)):
        first, second = (part[index] for part in parts)
        for name, array in whole[index][0].items():
            np.testing.assert_array_equal(np.concatenate([first[0][name], second[0][name]]), array)
        joined = np.concatenate([first[2], second[2]])
        np.testing.assert_array_equal(joined, whole[index][2])


def test_tf_data_gives_the_bytes_of_the_numpy_batches_in_their_order():
    batches = Batches(pack(make_examples([30] * 21), 32), 2, seed=1, start=3, share=(1, 2))
    dataset = as_dataset(batches)
    assert int(dataset.cardinality()) == len(batches) == 8
    for _ in range(2):  # `fit` reads validation data once an epoch
        for number, (inputs, *rest) in enumerate(dataset.as_numpy_iterator()):
            wanted_inputs, *wanted = batches[number]
            found = [*inputs.items(), *enumerate(rest)]
            for (name, array), (key, right) in zip(
                found, [*wanted_inputs.items(), *enumerate(wanted)], strict=True
            ):
                assert (name, array.dtype, array.tobytes()) == (key, right.dtype, right.tobytes())
        assert number == 7


def test_without_tensorflow_the_batches_are_read_as_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    batches = Batches(pack(make_examples([30] * 4), 32), 2)
    assert as_dataset(batches) is batches
