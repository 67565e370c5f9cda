import dataclasses

import numpy as np
import pytest

from conversations import turns
from gemma_finetune.evaluation import dataset
from gemma_finetune.utils.errors import UserError

from .conftest import formatted


def test_scored_are_the_assistants_tokens_and_their_end(test_set, tokenizer):
    for conversation in test_set.conversations:
        labels = conversation.tokens.labels
        scored = tokenizer.decode(labels[~np.isin(labels, [tokenizer.end_of_turn])].tolist())
        assert scored == "".join(turn.answer for turn in conversation.turns)
        assert (labels == tokenizer.end_of_turn).sum() == len(conversation.turns)
        assert labels.tolist() == [label for turn in conversation.turns for label in turn.labels]


def test_one_bos_and_it_is_first(test_set, tokenizer):
    for conversation in test_set.conversations:
        assert np.flatnonzero(conversation.tokens.ids == tokenizer.bos).tolist() == [0]


def test_a_follow_up_is_an_item_with_the_conversation_before_it(test_set):
    [follow_up] = [turn for turn in test_set.turns if len(turn.messages) > 1]
    assert [m["role"] for m in follow_up.messages] == ["user", "assistant", "user"]
    assert follow_up.answer == '{"name": "off"}'


def test_a_system_text_is_part_of_the_first_users_turn(test_set):
    """No runtime gets it as a message of its own: a `.task` has no place for one."""
    [turn] = [turn for turn in test_set.turns if turn.conversation == "chat-2"]
    assert turn.messages == ({"role": "user", "content": "Be brief.\n\nIs the door locked?"},)
    assert turn.answer == "Yes, it is."


def test_the_same_tokens_are_scored_as_training_supervises(test_set, rows, tokenizer):
    texts = {row["id"]: row["text"] for row in rows}
    for conversation in test_set.conversations:
        ids, supervised = tokenizer.encode_conversation(texts[conversation.id])
        assert conversation.tokens.ids.tolist() == ids
        assert (conversation.tokens.positions + 1).tolist() == np.flatnonzero(supervised).tolist()


def test_an_answer_with_train_false_is_not_scored(tokenizer):
    messages = turns(["What is on?", "The light.", "And now?", "Nothing."])
    messages[1]["train"] = False
    whole, part = (
        dataset.build([formatted("a", messages_of)], tokenizer)[0]
        for messages_of in (turns(["What is on?", "The light.", "And now?", "Nothing."]), messages)
    )
    assert part.tokens.ids.tolist() == whole.tokens.ids.tolist()
    assert [turn.answer for turn in part.turns] == ["Nothing."]
    assert part.turns[0].messages == whole.turns[1].messages
    assert part.tokens.labels.tolist() == whole.turns[1].labels.tolist()
    assert part.tokens.positions.dtype == whole.tokens.positions.dtype == np.int32


def test_shortest_first(test_set):
    lengths = [len(c.tokens.ids) for c in test_set.conversations]
    assert lengths == sorted(lengths)


def test_a_prompt_that_tokenizes_otherwise_alone_is_refused_by_name(tokenizer):
    class Merging(type(tokenizer)):
        """Gemma's vocabulary has pieces of several line breaks, across prompt and answer."""

        def __init__(self):
            self.__dict__.update(tokenizer.__dict__)

        def encode_conversation(self, text):
            ids, supervised = tokenizer.encode_conversation(text)
            return [*ids[:3], tokenizer.eos, *ids[3:]], [*supervised[:3], False, *supervised[3:]]

    expected = "test row odd: the prompt before answer 1 has other token ids by itself"
    with pytest.raises(UserError, match=expected):
        dataset.build([formatted("odd", turns(["a", "b"]))], Merging())


@pytest.mark.parametrize(
    ("count", "expected"), [(None, list(range(10))), (20, list(range(10))), (4, [1, 3, 6, 8])]
)
def test_select_spreads_over_all_rows(count, expected):
    assert dataset.select(list(range(10)), count) == expected


@pytest.mark.parametrize("length", [40, 80, 300])
def test_the_probe_is_as_long_as_asked_and_looks_at_its_end(test_set, tokenizer, length):
    probe = dataset.probe(test_set.conversations, length)
    assert len(probe.ids) == length
    assert np.flatnonzero(probe.ids == tokenizer.bos).tolist() == [0]
    assert probe.positions.tolist() == list(range(length - 17, length - 1))
    assert len(probe.labels) == 16


def test_a_budget_is_spread_evenly_and_never_leaves_nothing(test_set):
    conversations = [replace_id(test_set.conversations[0], str(i)) for i in range(10)]

    def chosen(budget):
        return [c.id for c in dataset.within(conversations, budget, lambda c: 3)]

    assert chosen(None) == chosen(30) == [str(i) for i in range(10)]
    assert chosen(29) == [str(i) for i in range(10) if i != 4]
    assert chosen(12) == ["1", "3", "6", "8"]
    assert chosen(1) == ["5"]


def replace_id(conversation, name):
    return dataclasses.replace(conversation, id=name)


def test_budgets_keep_whole_conversations(rows, tokenizer):
    whole = dataset.build_test_set(rows, tokenizer, window=48)
    assert whole.asked == whole.conversations and whole.asked_turns == [0, 1, 2, 3]
    few = dataset.build_test_set(
        rows, tokenizer, 48, max_positions=whole.positions - 1, max_answers=1
    )
    assert (len(few.conversations), len(few.asked), few.found) == (2, 1, 3)
    assert few.positions < whole.positions


def test_references_that_are_all_empty_are_an_error(tokenizer):
    empty = formatted("a", turns(["What is on?", ""]))
    with pytest.raises(UserError, match="every answer is empty or has `train: false`"):
        dataset.build_test_set([empty], tokenizer, window=48)
    untrained = turns(["What is on?", "The light."])
    untrained[1]["train"] = False
    with pytest.raises(UserError, match="every answer is empty or has `train: false`"):
        dataset.build_test_set([formatted("a", untrained)], tokenizer, window=48)
