"""The chat's screen and keyboard: lines, commands, colours, Ctrl-C. ChatSession has the history."""

import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from gemma_finetune.data.tool_rows import read_result
from gemma_finetune.inference.chat import ChatSession
from gemma_finetune.inference.functions import NO_COMMANDS, Commands
from gemma_finetune.utils.errors import UserError

HELP = """\
/reset        forget the conversation
/undo         forget the last question and its answer
/save FILE    add the conversation to a ChatML JSONL file, which `data.raw` can name
/load FILE    continue the last conversation of such a file
/stats        what the last answer took, and how full the context is
/exit         leave, as Ctrl-D does; Ctrl-C stops an answer, a second one leaves"""

MOST_ROUNDS = 8  # of calls that commands carry out, for one message

_BOLD, _DIM, _RED = "1", "2", "31"


class Leave(Exception):
    """/exit was given."""


class SecondInterrupt(KeyboardInterrupt):
    """Ctrl-C was pressed again while an answer was being stopped: the session ends."""


def converse(session: ChatSession, commands: Commands = NO_COMMANDS) -> None:
    """Answers lines from the terminal until /exit or Ctrl-D. A mistake does not end the session."""
    import readline  # noqa: F401 - gives input() line editing and history

    with suppress(Leave):
        while (line := _read_line()) is not None:
            try:
                respond(session, line, commands)
            except UserError as error:
                print(_style(f"error: {error}", _RED, sys.stderr), file=sys.stderr)
            except SecondInterrupt:
                raise
            except KeyboardInterrupt:  # during a command, or before an answer has begun
                print()


def converse_piped(
    session: ChatSession, lines: Iterable[str], commands: Commands = NO_COMMANDS
) -> None:
    """Answers each line of a file or pipe, in one conversation. A mistake ends it.

    Only the answers go to standard output.
    """
    with suppress(Leave):
        for line in lines:
            respond(session, line.strip(), commands)


def respond(session: ChatSession, line: str, commands: Commands = NO_COMMANDS) -> None:
    """Carries out a command, or prints the answer to a message.

    After an answer with calls, a line is the result of the call that waits first.
    """
    if line.startswith("/"):
        _command(session, line)
    elif line and session.waiting:
        session.results.append(read_result(line))
        _go_on(session, commands)
    elif line:
        answer(session, line, commands)


def answer(session: ChatSession, text: str, commands: Commands = NO_COMMANDS) -> None:
    """Prints the answer to `text` as it comes, and carries out its calls that have a command."""
    _show(session, session.ask(text))
    _go_on(session, commands)


def _go_on(session: ChatSession, commands: Commands) -> None:
    """Gives results back while there are calls, and stops at a call that only a person can do."""
    for _ in range(MOST_ROUNDS):
        while waiting := session.waiting:
            call = waiting[0]
            if not commands.carries_out(call["name"]):
                _note(f"type the result of {call['name']}({_json(call['arguments'])})")
                return
            result = commands.result(call["name"], call["arguments"])
            _note(f"{call['name']} gave {_json(result)}")
            session.results.append(result)
        if not session.results:
            return
        results, session.results = session.results, []
        _show(session, session.give(results))
    _note(f"stopped after {MOST_ROUNDS} rounds of calls; /undo drops them")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _show(session: ChatSession, pieces: Generator[str, None, None]) -> None:
    """Prints an answer as it comes.

    On a terminal Ctrl-C ends the answer and not the session.
    """
    with _interrupts() as interrupted:
        for number, piece in enumerate(pieces):
            if number == 0 and session.dropped:
                _note(f"the context is full: forgot the oldest {session.dropped} messages")
            print(piece, end="", flush=True)
            if interrupted():
                pieces.close()
    print(flush=True)
    if limit := session.cut_off_by():
        _note(f"cut off by {limit}")


def _command(session: ChatSession, line: str) -> None:
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name in _COMMANDS:
        if argument:
            raise UserError(f"{name} takes nothing after it, not {argument!r}")
        _COMMANDS[name](session)
    elif name in _FILE_COMMANDS:
        if not argument:
            raise UserError(f"{name} needs a file: {name} FILE")
        _FILE_COMMANDS[name](session, os.path.expanduser(argument))
    else:
        raise UserError(f"no command {name}; /help lists them")


def _reset(session: ChatSession) -> None:
    session.reset()
    _note("conversation forgotten")


def _undo(session: ChatSession) -> None:
    _note("last question and answer forgotten" if session.undo() else "nothing to undo")


def _show_stats(session: ChatSession) -> None:
    used, size = session.context_used()
    context = f"context {used} of {size} tokens"
    if session.stats is None:
        _note(context)
        return
    usage, speed = session.stats.usage, session.stats.tokens_per_second()
    _note(
        f"answer {usage.answer} tokens at {speed:.0f} tokens/s, "
        f"the first after {session.stats.first_token:.2f} s; "
        f"prompt {usage.prompt} tokens, {usage.read} of them new; {context}"
    )


def _help(session: ChatSession) -> None:
    print(HELP, file=sys.stderr)


def _leave(session: ChatSession) -> None:
    raise Leave


def _save(session: ChatSession, file: str) -> None:
    with _file_errors(file):
        session.save(file)
    _note(f"{len(session.messages)} messages saved to {file}")


def _load(session: ChatSession, file: str) -> None:
    with _file_errors(file):
        session.load(file)
    _note(f"{len(session.messages)} messages loaded from {file}")


_COMMANDS: dict[str, Callable[[ChatSession], None]] = {
    "/reset": _reset,
    "/undo": _undo,
    "/stats": _show_stats,
    "/help": _help,
    "/exit": _leave,
}
_FILE_COMMANDS: dict[str, Callable[[ChatSession, str], None]] = {"/save": _save, "/load": _load}


@contextmanager
def _file_errors(file: str) -> Iterator[None]:
    """Turns an error of the file system into a UserError that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}")


def _read_line() -> str | None:
    """A line from the terminal; empty after Ctrl-C, None after Ctrl-D."""
    prompt = _style("> ", _BOLD, sys.stdout)
    # \001 and \002 tell readline which bytes take no room on the screen.
    prompt = prompt.replace("\033[", "\001\033[").replace("m", "m\002")
    try:
        return input(prompt).strip()
    except EOFError:
        print()
        return None
    except KeyboardInterrupt:
        print()
        return ""


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C was pressed, so that an answer stops in order.

    Only on a terminal. A second Ctrl-C raises SecondInterrupt at once.
    """
    seen = []

    def note(signal_number: int, frame: FrameType | None) -> None:
        if seen:
            raise SecondInterrupt
        seen.append(signal_number)

    if not is_terminal(sys.stdin):
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, previous)


def is_terminal(stream: TextIO | None) -> bool:
    """Python has no sys.stdin (None) if the process was started with a closed standard input."""
    return stream is not None and stream.isatty()


def _note(text: str) -> None:
    print(_style(f"({text})", _DIM, sys.stderr), file=sys.stderr, flush=True)


def _style(text: str, code: str, stream: TextIO) -> str:
    """`text` in a colour, if `stream` is a terminal and NO_COLOR is not set."""
    if stream.isatty() and "NO_COLOR" not in os.environ:
        return f"\033[{code}m{text}\033[0m"
    return text
