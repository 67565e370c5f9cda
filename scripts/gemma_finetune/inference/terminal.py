"""The chat's screen and keyboard: lines and commands, colours, Ctrl-C. The conversation itself is
ChatSession's.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from gemma_finetune.inference.chat import ChatSession
from gemma_finetune.utils.cli import UserError

HELP = """\
/reset        forget the conversation
/undo         forget the last question and its answer
/save FILE    add the conversation to a ChatML JSONL file, which `data.raw` can name
/load FILE    go on with the last conversation of such a file
/stats        what the last answer took, and how full the context is
/exit         leave, as Ctrl-D does; Ctrl-C stops an answer, a second one leaves"""

_BOLD, _DIM, _RED = "1", "2", "31"


class Leave(Exception):
    """/exit was given."""


class SecondInterrupt(KeyboardInterrupt):
    """Ctrl-C was pressed again while an answer was being stopped: the session is to end."""


def converse(session: ChatSession) -> None:
    """Reads lines from the terminal and answers them, until /exit or Ctrl-D. A mistake is told and
    forgiven.
    """
    import readline  # noqa: F401 - gives input() line editing and history

    with suppress(Leave):
        while (line := _read_line()) is not None:
            try:
                respond(session, line)
            except UserError as error:
                print(_style(f"error: {error}", _RED, sys.stderr), file=sys.stderr)
            except SecondInterrupt:
                raise
            except KeyboardInterrupt:  # around a command, or before an answer has begun
                print()


def converse_piped(session: ChatSession, lines: Iterable[str]) -> None:
    """Answers each line of a file or pipe, in one conversation; only answers go to stdout. A
    mistake ends it.
    """
    with suppress(Leave):
        for line in lines:
            respond(session, line.strip())


def respond(session: ChatSession, line: str) -> None:
    """Carries out a command, or prints the answer to a message."""
    if line.startswith("/"):
        _command(session, line)
    elif line:
        answer(session, line)


def answer(session: ChatSession, text: str) -> None:
    """Prints the answer to `text` as it comes. On a terminal Ctrl-C ends the answer, not the
    session.
    """
    pieces = session.ask(text)
    with _interrupts() as interrupted:
        for number, piece in enumerate(pieces):
            if number == 0 and session.dropped:
                _note(f"the context is full: forgot the oldest {session.dropped} messages")
            print(piece, end="", flush=True)
            if interrupted():
                pieces.close()
    print(flush=True)
    if session.stats and not session.stats.usage.complete:
        _note("cut off by generate.max_tokens or the end of the context")


def _command(session, line):
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name not in _COMMANDS | _FILE_COMMANDS:
        raise UserError(f"no command {name}; /help lists them")
    if name in _FILE_COMMANDS and not argument:
        raise UserError(f"{name} needs a file: {name} FILE")
    if name in _COMMANDS and argument:
        raise UserError(f"{name} takes nothing after it, not {argument!r}")
    if name in _COMMANDS:
        _COMMANDS[name](session)
    else:
        _FILE_COMMANDS[name](session, os.path.expanduser(argument))


def _leave(session):
    raise Leave


def _save(session, file):
    with _file_errors(file):
        session.save(file)
    _note(f"{len(session.messages)} messages saved to {file}")


def _load(session, file):
    with _file_errors(file):
        session.load(file)
    _note(f"{len(session.messages)} messages loaded from {file}")


def _reset(session):
    session.reset()
    _note("conversation forgotten")


def _undo(session):
    _note("last question and answer forgotten" if session.undo() else "nothing to undo")


_COMMANDS = {
    "/reset": _reset,
    "/undo": _undo,
    "/stats": lambda session: _note(_describe(session)),
    "/help": lambda session: print(HELP, file=sys.stderr),
    "/exit": _leave,
}
_FILE_COMMANDS = {"/save": _save, "/load": _load}


@contextmanager
def _file_errors(file):
    """A file that cannot be read or written is the user's mistake."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}")


def _describe(session):
    used, size = session.context_used()
    context = f"context {used} of {size} tokens"
    if not (stats := session.stats):
        return context
    usage = stats.usage
    return (
        f"answer {usage.answer} tokens at {stats.tokens_per_second():.0f} tokens/s, the first after "
        f"{stats.first_token:.2f} s; prompt {usage.prompt} tokens, {usage.read} of them new; {context}"
    )


def _read_line():
    """A line from the terminal; empty after Ctrl-C, None after Ctrl-D."""
    prompt = _style("> ", _BOLD, sys.stdout)
    try:
        # \001 and \002 tell readline which bytes take no room on the screen.
        return input(prompt.replace("\033[", "\001\033[").replace("m", "m\002")).strip()
    except (EOFError, KeyboardInterrupt) as end:
        print()
        return None if isinstance(end, EOFError) else ""


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C on a terminal into a flag, so that an answer stops between two pieces;
    a second raises.
    """
    seen = []

    def note(signal_number, frame):
        if seen:
            raise SecondInterrupt
        seen.append(signal_number)

    if not sys.stdin.isatty():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, previous)


def _note(text):
    print(_style(f"({text})", _DIM, sys.stderr), file=sys.stderr, flush=True)


def _style(text, code, stream):
    """`text` in a colour where `stream` is a terminal whose user wants colours."""
    return (
        f"\033[{code}m{text}\033[0m" if stream.isatty() and "NO_COLOR" not in os.environ else text
    )
