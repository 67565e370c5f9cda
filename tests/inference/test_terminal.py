import os
import signal
import sys

import pytest

from gemma_finetune.inference import terminal
from gemma_finetune.inference.chat import ChatSession
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.utils.errors import UserError

from .test_chat import EchoBackend, contents, session


def test_a_pipe_gets_answers_alone_one_a_line(capsys):
    terminal.converse_piped(session(), ["one two\n", "\n", "three\n", "/exit\n", "four\n"])
    assert capsys.readouterr() == ("ONE TWO \nTHREE \n", "")


def test_a_pipe_s_mistake_ends_it():
    with pytest.raises(UserError, match="no command /nope; /help"):
        terminal.converse_piped(session(), ["/nope\n"])


def test_commands(capsys, tmp_path):
    chat = session()
    for line in ("one", "two", "/stats", "/undo"):
        terminal.respond(chat, line)
    assert chat.stats is None  # they were of the answer that is forgotten
    for line in (f"/save {tmp_path}/s.jsonl", "/stats", "/reset", "/undo"):
        terminal.respond(chat, line)
    assert chat.messages == []
    terminal.respond(chat, f"/load {tmp_path}/s.jsonl")
    assert contents(chat) == ["one", "ONE"]
    terminal.respond(chat, "/help")
    notes = capsys.readouterr().err
    for expected in ("last question", "2 messages saved", "context", "tokens/s", "forgotten"):
        assert expected in notes
    assert "nothing to undo" in notes
    for name in ("/reset", "/undo", "/save", "/load", "/stats", "/exit"):
        assert name in notes


@pytest.mark.parametrize("command", ["/reset", "/undo", "/stats", "/help", "/exit"])
def test_a_command_with_something_after_it_does_nothing_but_say_so(command):
    chat = session()
    terminal.answer(chat, "one")
    with pytest.raises(UserError, match=f"{command} takes nothing after it, not 'now'"):
        terminal.respond(chat, f"{command}  now ")
    assert contents(chat) == ["one", "ONE"]


@pytest.mark.parametrize("command", ["/save", "/load "])
def test_a_command_without_its_file_says_so(command):
    with pytest.raises(UserError, match=f"{command.strip()} FILE"):
        terminal.respond(session(), command)


def test_tells_what_was_forgotten_and_what_was_cut_off(capsys):
    chat = session(context_length=200, max_tokens=3)
    for line in ("first " * 12, "second " * 12):
        terminal.answer(chat, line)
    notes = capsys.readouterr().err
    assert "forgot the oldest 2 messages" in notes
    assert "(cut off by generate.max_tokens, 3)" in notes


def test_tells_when_the_end_of_the_context_cut_an_answer_off(capsys):
    chat = session(context_length=130, max_tokens=90)
    terminal.answer(chat, "word " * 14)
    notes = capsys.readouterr().err
    assert "(cut off by the end of the context, 130 tokens)" in notes


def test_no_colours_but_on_a_terminal(monkeypatch, capsys):
    assert terminal._style("x", "2", sys.stderr) == "x"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert terminal._style("x", "2", sys.stderr) == "\033[2mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal._style("x", "2", sys.stderr) == "x"


class InterruptingBackend(EchoBackend):
    """Ctrl-C is pressed while it says its first word."""

    def generate(self, messages, sampler, max_tokens, tools=()):
        for number, piece in enumerate(super().generate(messages, sampler, max_tokens)):
            if number == 0 and "stop" in messages[-1]["content"]:
                os.kill(os.getpid(), signal.SIGINT)
            yield piece


@pytest.fixture
def typed(monkeypatch):
    """Makes standard input a terminal on which these lines are typed; an exception is a key."""

    def type_lines(*lines):
        keys = iter(lines)

        def read(_):
            key = next(keys)
            if isinstance(key, BaseException):
                raise key
            return key

        monkeypatch.setattr("builtins.input", read)
        monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())

    return type_lines


def test_ctrl_c_stops_an_answer_and_keeps_the_session(typed, capsys):
    chat = ChatSession(InterruptingBackend(), Sampler(), 100)
    typed("stop now please", "go on", EOFError())
    before = signal.getsignal(signal.SIGINT)
    terminal.converse(chat)
    assert contents(chat) == ["stop now please", "STOP", "go on", "GO ON"]
    assert capsys.readouterr().out == "STOP \nGO ON \n\n"
    assert signal.getsignal(signal.SIGINT) == before


def test_ctrl_c_at_the_prompt_gives_a_new_one_and_mistakes_are_forgiven(typed, capsys):
    chat = session()
    typed(KeyboardInterrupt(), "/nope", "", "one", "/exit", "never asked")
    terminal.converse(chat)
    assert contents(chat) == ["one", "ONE"]
    out, notes = capsys.readouterr()
    assert "ONE" in out and "error" not in out
    assert "error: no command /nope" in notes


@pytest.mark.parametrize("command", ["/save", "/load"])
def test_a_file_that_cannot_be_used_is_a_mistake_not_the_end(command, tmp_path):
    chat = session()
    terminal.answer(chat, "one")
    for path in (tmp_path, "/proc/nothing/here"):
        with pytest.raises(UserError):
            terminal.respond(chat, f"{command} {path}")
    assert len(chat.messages) == 2


def test_ctrl_c_before_an_answer_has_begun_keeps_the_session(typed, monkeypatch):
    chat = session()
    asked = iter([KeyboardInterrupt(), None])

    def ask(text, original=chat.ask):
        if error := next(asked):
            raise error
        return original(text)

    monkeypatch.setattr(chat, "ask", ask)
    typed("one", "two", EOFError())
    terminal.converse(chat)
    assert contents(chat) == ["two", "TWO"]


def test_a_second_ctrl_c_leaves(typed):
    class Stubborn(EchoBackend):
        def generate(self, messages, sampler, max_tokens, tools=()):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            yield "never"

    typed("one", "never asked")
    with pytest.raises(terminal.SecondInterrupt):
        terminal.converse(ChatSession(Stubborn(), Sampler(), 100))
