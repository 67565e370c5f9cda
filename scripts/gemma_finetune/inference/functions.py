"""Functions that a model may call: read from files and rows, and carried out by commands.

A call is carried out only by the person at the keyboard, or by a command that was named for it.
"""

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemma_finetune.data.converter import (
    canonical,
    to_messages,
    to_numbered_turns,
    to_openai_tools,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.schemas import read
from gemma_finetune.data.tool_check import check_tools, settle_calls
from gemma_finetune.data.tool_rows import read_result, read_tools
from gemma_finetune.formats.chat_template import render_prompt
from gemma_finetune.utils.errors import UserError

LIMIT_S = 60  # for a command that carries out a call


def load_tools(path: str | Path) -> list[dict]:
    """The functions in a JSON file, as OpenAI has them. UserError says what is wrong with it."""
    try:
        tools = read_tools(Path(path).read_text(encoding="utf-8-sig"))
        check_tools(tools)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})")
    except Rejection as rejection:
        raise UserError(f"{path}: not a JSON list of functions ({rejection.message})")
    if not tools:
        raise UserError(f"{path}: an empty list; write the functions that the model may call")
    return to_openai_tools({"tools": tools})


def read_conversation(messages: Sequence[Any], tools: Any) -> tuple[list[dict], list[dict]]:
    """The messages of a row in their one form, and its functions.

    ValueError says what is wrong with them.
    """
    if not tools and not any(_has_calls(message) for message in messages):
        return [{"role": m["role"], "content": _text(m["content"])} for m in messages], []
    try:
        row = read({"messages": list(messages), "tools": tools}, "chatml")
        turns, _, declared = settle_calls(*to_numbered_turns(row), getattr(row, "tools", None))
    except Rejection as rejection:
        raise ValueError(rejection.message)
    if any(role == "system" for role, _ in turns[1:]):
        raise ValueError("a system text may only be at the start, and once; join them")
    conversation = canonical(turns, None, {}, declared)
    return to_messages(conversation), to_openai_tools(conversation)


def _has_calls(message: Any) -> bool:
    return bool(message.get("tool_calls")) or message["role"] == "tool"


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise ValueError(f"content is a {type(content).__name__}, not text")
    content.encode()  # ValueError for a lone surrogate
    return content


def render_either(messages: list[dict], tools: list[dict]) -> str:
    """The prompt, with FunctionGemma's template where there are functions.

    ValueError for messages that are no conversation.
    """
    return render_prompt(messages, tools or None)


class Commands:
    """{function: command}: what carries out calls. A function without a command has none."""

    def __init__(self, commands: dict[str, str]):
        try:
            self._commands = {name: shlex.split(command) for name, command in commands.items()}
        except ValueError as error:
            raise UserError(f"--run: not a command line ({error})")

    @classmethod
    def parse(cls, options: Sequence[str], tools: Sequence[dict]) -> "Commands":
        """Of options `NAME=COMMAND`. UserError for a name that no function has."""
        known = [tool["function"]["name"] for tool in tools]
        commands = {}
        for option in options:
            name, separator, command = option.partition("=")
            if not separator or not command.strip() or name not in known:
                raise UserError(
                    f"--run {option}: write NAME=COMMAND, with the name of a function of --tools "
                    f"({', '.join(known) or 'none given'})"
                )
            commands[name] = command
        return cls(commands)

    def carries_out(self, name: str) -> bool:
        return name in self._commands

    def result(self, name: str, arguments: dict) -> Any:
        """What the command of a function prints, as JSON or text.

        It gets the arguments as JSON on its standard input. UserError if it fails.
        """
        command = self._commands[name]
        try:
            done = subprocess.run(
                command,
                input=json.dumps(arguments),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=LIMIT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"{name}: its command {command[0]} failed ({error})")
        if done.returncode:
            raise UserError(
                f"{name}: its command ended with {done.returncode}: {done.stderr[-200:]}"
            )
        return read_result(done.stdout.rstrip("\r\n"))  # the line break is `print`'s


NO_COMMANDS = Commands({})
