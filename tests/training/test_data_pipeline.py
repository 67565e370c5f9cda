import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.training.data_pipeline import (
    Batches,
    Example,
    assign_rows,
    pack,
    supervised_fraction,
    tokenize,
)
from gemma_finetune.utils.cli import UserError

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
    assert (packed.segment_ids > 0).mean() > 0.95


def test_labels_are_the_supervised_tokens_and_positions_come_one_before():
    examples = make_examples([10, 7, 30, 16])
    packed = pack(examples, 32)
    found = []
    for ids, _, positions, labels, weights, _ in zip(*packed, strict=True):
        used = weights > 0
        np.testing.assert_array_equal(ids[positions[used] + 1], labels[used])
        found += labels[used].tolist()
    wanted = [token for ids, supervised in examples for token in ids[supervised]]
    assert sorted(found) == sorted(wanted)


def test_a_prediction_never_crosses_into_another_conversation():
    packed = pack(make_examples([16, 16, 16, 16]), 32)
    for _, segments, positions, _, weights, _ in zip(*packed, strict=True):
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
        assert sum(weights.sum() for _, _, weights in seen) == rows.weights.sum()
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


GOOD = {"text": "<start_of_turn>user\nhello<end_of_turn>\n<start_of_turn>model\nhi<end_of_turn>\n"}


def test_an_overlong_row_is_named_not_cut(tokenizer):
    rows = [GOOD, {"text": GOOD["text"].replace("hello", "hello " * 100)}]
    message = r"train.jsonl:2: \d+ tokens, over train.sequence_length = 64"
    with pytest.raises(UserError, match=message):
        tokenize(rows, tokenizer, 64, "train.jsonl")


def test_rows_without_an_answer_are_refused(tokenizer):
    row = {"text": "<start_of_turn>user\nhello<end_of_turn>\n"}
    with pytest.raises(UserError, match="0% of the tokens are supervised"):
        tokenize([row], tokenizer, 64, "train.jsonl")


def test_an_answer_with_train_false_is_not_supervised(tokenizer):
    text = GOOD["text"] + GOOD["text"].replace("hi", "bye")
    user = {"role": "user", "content": "hello"}
    first = {"role": "assistant", "content": "hi", "train": False}
    second = {"role": "assistant", "content": "bye"}
    row = {"messages": [user, first, user, second], "text": text}
    [example] = tokenize([row], tokenizer, 64, "train.jsonl")
    learnt = example.ids[example.supervised].tolist()
    assert learnt == [*tokenizer.encode("bye"), tokenizer.end_of_turn]


def test_the_supervised_fraction_counts_tokens(tokenizer):
    examples = tokenize([GOOD], tokenizer, 64, "train.jsonl")
    answer = len(tokenizer.encode("hi")) + 1
    assert supervised_fraction(examples) == answer / len(examples[0].ids)
