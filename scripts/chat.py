"""Talk to the model: on the bundle that ships (LiteRT-LM), on a bare .tflite, or on Keras.

    python scripts/chat.py                                   # models/bundle/int8.task
    python scripts/chat.py --model models/tflite/int4.tflite
    python scripts/chat.py --backend keras                   # models/merged
    python scripts/chat.py --prompt "Turn on the kitchen light"
    python scripts/chat.py --model models/bundle/int8.litertlm --tools tools.json
    printf 'turn on the lamp\nnow dim it\n' | python scripts/chat.py

Reads a model, `generate` of params.yaml and the keyboard (or --prompt, or standard input, one
message a line). Writes the answers to standard output and everything else to standard error. /help
lists the commands.
"""

import argparse
import signal
import sys
from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.inference.backend import DEFAULT_MODEL, open_backend
from gemma_finetune.inference.chat import ChatSession
from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.inference.functions import Commands, load_tools
from gemma_finetune.inference.terminal import answer, converse, converse_piped, is_terminal
from gemma_finetune.reporting.gate import failed_hops
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import made_by, read_json, sha256

VERDICTS = Path("metrics/check.json")


def main() -> None:
    args = parse_arguments()
    if args.prompt is not None and not args.prompt.strip():
        raise UserError("--prompt is empty: nothing to answer")
    tools = load_tools(args.tools) if args.tools else []
    commands = Commands.parse(args.run, tools)
    config = load_section("generate", GenerateConfig)
    with open_backend(args.backend, args.model, config, args.tokenizer) as backend:
        warn_of_failed_checks(backend.weights)
        session = ChatSession(backend, config.sampler(), config.max_tokens, args.system, tools)
        if args.prompt is not None:
            answer(session, args.prompt, commands)
        elif is_terminal(sys.stdin):
            note(f"{backend.description}\n/help lists the commands, Ctrl-D leaves.")
            converse(session, commands)
        elif sys.stdin is not None:
            sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
            converse_piped(session, sys.stdin, commands)


def warn_of_failed_checks(model: Path) -> None:
    """Prints a warning if the last `check` judged this very file, and a check failed for it."""
    if not VERDICTS.exists():
        return
    try:
        with made_by("check", VERDICTS):
            failed = failed_checks(model, read_json(VERDICTS))
    except UserError as error:  # no reason not to chat
        note(f"warning: {error}")
        return
    if failed:
        note(f"warning: {model} failed its checks at {', '.join(failed)}; see metrics/report.md")


def failed_checks(model: Path, content: dict) -> list[str]:
    """The hops at which this very file failed, by metrics/check.json's `content`."""
    digest = content["bundles"].get(model.name)
    if digest is None:  # not a bundle of this run's quantizations
        return []
    failed = failed_hops(content, model.name)
    # Another file may have the same name. A large file takes seconds to hash, so that comes last.
    return failed if failed and sha256(model) == digest else []


def note(text: str) -> None:
    print(text, file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Talk to the model.")
    parser.add_argument(
        "--backend", choices=sorted(DEFAULT_MODEL), help="default: what --model is, or bundle"
    )
    parser.add_argument(
        "--model", metavar="PATH", help="a .task, .litertlm, .tflite or Hugging Face directory"
    )
    parser.add_argument(
        "--tokenizer", metavar="PATH", help="tokenizer.model for a .tflite of another pipeline"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="answer this and leave")
    parser.add_argument(
        "--system", metavar="TEXT", help="an instruction that stands before the first message"
    )
    parser.add_argument(
        "--tools", metavar="FILE.json", help="functions that the model may call (FunctionGemma)"
    )
    parser.add_argument(
        "--run",
        metavar="NAME=COMMAND",
        action="append",
        default=[],
        help="carry out calls of this function: arguments as JSON on standard input, the result "
        "on standard output; without it you are asked for the result",
    )
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `chat.py | head` ends without a traceback
    run(main, arguments=None)
