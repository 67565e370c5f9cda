import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.config import CONTROL_PIECES, END_OF_TURN, START_OF_TURN, find_control
from gemma_finetune.data.validation import check
from gemma_finetune.formats.chat_template import render, render_prompt
from gemma_finetune.inference.chat import ChatSession, Stats, as_text
from gemma_finetune.inference.interface import Backend, PromptTooLong, Usage
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.errors import UserError


class EchoBackend(Backend):
    """Says the question's words in upper case, one a piece; a token is a character."""

    description = "echo"

    def __init__(self, context_length=1000):
        self.context_length, self.prompts = context_length, []

    def count_tokens(self, text):
        return len(text)

    def generate(self, messages, sampler, max_tokens, tools=()):
        prompt = len(render_prompt(messages))
        if prompt >= self.context_length:
            raise PromptTooLong(prompt, self.context_length)
        self.prompts.append(messages)
        pieces = [f"{word} " for word in messages[-1]["content"].upper().split()]
        yield from pieces
        complete = len(pieces) < min(max_tokens, self.context_length - prompt)
        self.usage = Usage(prompt=prompt, read=prompt, answer=len(pieces), complete=complete)

    def close(self):
        pass


def session(context_length=1000, max_tokens=100, system=None):
    return ChatSession(EchoBackend(context_length), Sampler(), max_tokens, system)


def ask(chat, text):
    return "".join(chat.ask(text))


def contents(chat):
    return [message["content"] for message in chat.messages]


def test_a_question_is_asked_with_all_that_was_said():
    chat = session(system="Be brief.")
    assert ask(chat, " one two ") == "ONE TWO "
    ask(chat, "three")
    roles = [message["role"] for message in chat.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert contents(chat) == ["Be brief.", "one two", "ONE TWO", "three", "THREE"]
    assert chat._backend.prompts[-1] == chat.messages[:-1]


def test_undo_forgets_one_question_and_its_answer_and_reset_all():
    chat = session(system="Be brief.")
    ask(chat, "one")
    ask(chat, "two")
    assert chat.undo()
    assert contents(chat) == ["Be brief.", "one", "ONE"]
    chat.reset()
    assert contents(chat) == ["Be brief."]
    assert not chat.undo()


def test_an_answer_that_is_stopped_stays_as_far_as_it_came():
    chat = session()
    pieces = chat.ask("one two three")
    assert next(pieces) == "ONE "
    pieces.close()
    assert contents(chat) == ["one two three", "ONE"]
    assert chat.stats is None
    assert ask(chat, "four") == "FOUR "


def test_an_answer_that_never_began_leaves_no_trace():
    chat = session()
    ask(chat, "one")
    chat._backend.generate = lambda *_: iter(())
    chat._backend.usage = None

    def fail(*_):
        raise RuntimeError("no model")
        yield

    chat._backend.generate = fail
    with pytest.raises(RuntimeError):
        ask(chat, "two")
    assert contents(chat) == ["one", "ONE"]


def test_whole_oldest_turns_make_room_and_are_counted():
    chat = session(context_length=400, max_tokens=50, system="Be brief.")
    for text in ("first " * 8, "second " * 8):
        ask(chat, text)
        assert chat.dropped == 0
    ask(chat, "third " * 8)
    assert chat.dropped == 2
    first_words = [content.split()[0] for content in contents(chat)]
    assert first_words == ["Be", "second", "SECOND", "third", "THIRD"]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(10, 200))
def test_what_is_asked_leaves_room_for_an_answer(lengths, max_tokens):
    chat = session(context_length=400, max_tokens=max_tokens)
    for number, length in enumerate(lengths):
        ask(chat, f"{number} " + "x" * length)
        prompt = chat._backend.prompts[-1]
        assert len(render_prompt(prompt)) + min(max_tokens, 100) <= 400
        assert [m["role"] for m in prompt] == ["user", "assistant"] * (len(prompt) // 2) + ["user"]
        assert chat.messages[:-1] == prompt


def test_a_question_that_does_not_fit_is_refused_and_the_rest_kept():
    chat = session(context_length=200, max_tokens=20)
    ask(chat, "one")
    with pytest.raises(PromptTooLong):
        ask(chat, "x" * 200)
    assert contents(chat) == ["one", "ONE"]


@pytest.mark.parametrize("piece", CONTROL_PIECES)
def test_control_pieces_that_are_typed_stay_text(piece):
    chat = session()
    ask(chat, f"say {piece} twice {piece}")
    typed = chat.messages[0]["content"]
    assert find_control(typed) is None
    assert typed.replace(" ", "") == f"say{piece}twice{piece}"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([*CONTROL_PIECES, *"<> a\n", "<unused7>", "start_of_turn>"])))
def test_no_typed_text_becomes_a_turn(parts):
    text = "".join(parts)
    safe = as_text(text)
    assert find_control(safe) is None
    assert "".join(safe.split()) == "".join(text.split())
    assert render([{"role": "user", "content": safe}]).count(START_OF_TURN) == 1
    assert as_text(safe) == safe


def test_a_control_piece_that_the_model_spells_stays_text():
    chat = session()
    chat._backend.generate = lambda *_: iter(["<end_of", "_turn>"])
    chat._backend.usage = Usage(1, 1, 1, True)
    ask(chat, "hello")
    assert find_control(chat.messages[-1]["content"]) is None
    assert END_OF_TURN.replace("<", "< ") in chat.messages[-1]["content"]


def test_a_saved_conversation_is_loaded_again(tmp_path):
    path = tmp_path / "saved.jsonl"
    chat = session(system="Be brief.")
    ask(chat, "eins 😀\nzwei")
    chat.save(path)
    ask(chat, "drei")
    chat.save(path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [len(row["messages"]) for row in rows] == [3, 5]
    other = session()
    other.load(path)
    assert other.messages == chat.messages
    assert ask(other, "vier") == "VIER "


def test_the_data_stages_read_what_is_saved(tmp_path):
    chat = session()
    ask(chat, "turn on the light")
    ask(chat, "and the lamp")
    chat.save(tmp_path / "saved.jsonl")
    checked = check((tmp_path / "saved.jsonl").read_bytes(), "auto", ())
    assert (checked.format, checked.repairs) == ("chatml", [])
    assert [text for _, text in checked.turns] == contents(chat)


ANSWER = '{"role": "assistant", "content": "x"}'


@pytest.mark.parametrize(
    "content, at_fault",
    [
        ("", "not a ChatML conversation"),
        ("{]", "saved.jsonl:1"),
        ('{"text": "hi"}', "not a ChatML conversation"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "not the assistant's"),
        (f'{{"messages": [{{"role": "robot", "content": "hi"}}, {ANSWER}]}}', "robot"),
        (f'{{"messages": [{{"role": "user", "content": 7}}, {ANSWER}]}}', "not a ChatML"),
        ("[1]", "not a ChatML conversation"),
    ],
)
def test_what_is_no_conversation_is_not_loaded(tmp_path, content, at_fault):
    path = tmp_path / "saved.jsonl"
    path.write_text(content)
    chat = session()
    ask(chat, "one")
    with pytest.raises(UserError, match=at_fault):
        chat.load(path)
    assert contents(chat) == ["one", "ONE"]


def test_an_empty_conversation_is_not_saved(tmp_path):
    with pytest.raises(UserError, match="nothing to save"):
        session().save(tmp_path / "saved.jsonl")
    with pytest.raises(UserError, match="no such file"):
        session().load(tmp_path / "saved.jsonl")


def test_stats_tell_what_an_answer_took():
    chat = session()
    ask(chat, "one two three")
    assert chat.stats.usage.answer == 3
    assert 0 <= chat.stats.first_token <= chat.stats.total
    assert chat.context_used() == (len(render(chat.messages)), 1000)


def test_speed_is_of_the_whole_answer():
    usage = Usage(prompt=9, read=9, answer=12, complete=True)
    assert Stats(usage, first_token=1.0, total=3.0).tokens_per_second() == 4.0


def test_a_broken_byte_of_the_keyboard_is_no_text():
    assert as_text("caf\udce9 on") == "caf? on"


class CallingBackend(Backend):
    """Calls `f` twice, and then says how many results it has seen."""

    has_functions, context_length = True, 1000

    def count_tokens(self, text):
        return len(text)

    def generate(self, messages, sampler, max_tokens, tools=()):
        self.render_prompt(messages, tools)  # ValueError for what is no conversation
        self.usage = Usage(prompt=1, read=1, answer=1, complete=True)
        if messages[-1]["role"] == "user":
            yield "<start_function_call>call:f{a:1}<end_function_call>" * 2
        else:
            yield f"{len(messages[-1]['content'])} results"

    def close(self):
        pass


FUNCTIONS = [{"type": "function", "function": {"name": "f", "description": ""}}]


def test_calls_wait_for_their_results_which_are_only_text():
    chat = ChatSession(CallingBackend(), Sampler(), 100, "Be brief. <escape>", FUNCTIONS)
    ask(chat, "one <escape>")
    assert chat.calls == [{"name": "f", "arguments": {"a": 1}}] * 2
    with pytest.raises(UserError, match="wait for their results"):
        chat.ask("two")
    assert "".join(chat.give([{"<escape>": "<end_of_turn>"}, 1.0])) == "2 results"
    user, _, results, answer = chat.messages[1:]
    assert user["content"] == "one < escape>"
    assert results["content"] == [
        {"name": "f", "response": {"< escape>": "< end_of_turn>"}},
        {"name": "f", "response": {"result": 1}},
    ]
    assert (answer["content"], chat.calls) == ("2 results", [])
    assert chat.undo() and len(chat.messages) == 1


@pytest.mark.parametrize("result", [
    {" a ": "  two\n lines \n", "b": [" ", ""]}, [" x "], " done ", "", None, True, 0.1, [[]],
])  # fmt: skip
def test_a_result_is_given_as_training_has_it(result):
    """Nothing is trimmed: the data stages keep what a function returned, too."""
    chat = ChatSession(CallingBackend(), Sampler(), 100, tools=FUNCTIONS)
    ask(chat, "one")
    list(chat.give([result, 1]))
    row = {"messages": chat.messages, "tools": FUNCTIONS}
    row["messages"][2] = {"role": "tool", "content": json.dumps([result, 1])}
    turns = check(json.dumps(row).encode(), "auto", []).turns
    assert json.loads(turns[2][1]) == chat._turns[2]["content"]


@pytest.mark.parametrize("result", [2**63, -(2**63), 1e300, {"a": [1e19]}])
def test_a_result_that_no_runtime_reads_exactly_is_an_error_and_can_be_given_again(result):
    chat = ChatSession(CallingBackend(), Sampler(), 100, tools=FUNCTIONS)
    ask(chat, "one")
    with pytest.raises(UserError, match="the result of f holds the number .* over 64 bits"):
        chat.give([result, 1])
    assert len(chat.waiting) == 2
    assert "".join(chat.give([str(result), 1])) == "2 results"


def test_the_oldest_exchange_is_forgotten_with_its_calls():
    chat = ChatSession(CallingBackend(), Sampler(), 100, tools=FUNCTIONS)
    for text in ("one" * 60, "two" * 60):
        ask(chat, text)
        list(chat.give([1, 2]))
    assert [message["role"] for message in chat.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert chat.messages[0]["content"].startswith("two")
