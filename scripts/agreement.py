"""Compares a bundle's answers on another runtime with those on this CPU, over the test split.

data/formatted/test.jsonl, models/bundle -> figures on standard output, differences on stderr

    python scripts/agreement.py                              # int8.litertlm in Chromium
    python scripts/agreement.py int4.litertlm --on firefox
    python scripts/agreement.py --on gpu --limit 20

Holds every conversation twice, greedily: on LiteRT-LM's Python API on the CPU, and

- in a browser, on the page of `web.py` (LiteRT-LM in WebAssembly): needs npm and the browser;
- or on this machine's GPU (LiteRT-LM's Python API): needs a Vulkan driver.

Each side continues from its own answers, so that a conversation is compared up to and including its
first difference. It also ends where the context has no room for a whole answer. The script is no
stage of the pipeline.

The figures, named web_int8 or gpu_int8:

- agreement: of the compared answers, how many are equal.
- agreement_of_words: of the words of the CPU's answers, how many stand before the first
  difference of their answer.
- equal_words_where_different: how many those are in an answer that differs, as a median; null if
  none differs.
- ended_by_full_context: how many conversations ended before their last answer because the context
  was full.
- tokens_per_second: a median, as the page shows it; null on a GPU.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemma_finetune.formats.chat_template import fold_system
from gemma_finetune.inference.bundle_inference import BundleBackend
from gemma_finetune.inference.interface import PromptTooLong
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.runtime.threads import thread_count
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_jsonl, require
from gemma_finetune.web.chat import Chat, ContextFull
from gemma_finetune.web.chromium import open_chromium
from gemma_finetune.web.firefox import open_firefox
from gemma_finetune.web.layout import PAGE, RUNTIME, lay_out
from gemma_finetune.web.npm import install
from gemma_finetune.web.server import served

RUNTIMES = ("chromium", "firefox", "gpu")

# Of one conversation, in order. Fewer than its questions where the context became full.
Answers = list[str]


def main() -> None:
    args = parse_arguments()
    bundle = require(args.models / args.bundle, "bundle")
    rows = list(read_jsonl(require("data/formatted/test.jsonl", "format")))[: args.limit]
    conversations = [questions_of(row["messages"]) for row in rows]

    # The other runtime first, so that a missing browser or GPU is reported before any answer.
    if args.on == "gpu":
        other, speeds = answers_of(bundle, conversations, gpu=True), []
    else:
        other, speeds = answers_in_a_browser(bundle, conversations, args.on)
    cpu = answers_of(bundle, conversations)

    comparison = Comparison()
    for questions, expected, found in zip(conversations, cpu, other, strict=True):
        comparison.add(questions, expected, found)
    figures = comparison.figures() | {
        "conversations": len(conversations),
        "tokens_per_second": statistics.median(speeds) if speeds else None,
    }
    prefix = "gpu" if args.on == "gpu" else "web"
    print(json.dumps({f"{prefix}_{bundle.stem}": figures}, indent=2))


def questions_of(messages: list[dict]) -> list[str]:
    """What the user says; a system text is part of the first message, as in training."""
    return [turn["content"] for turn in fold_system(messages) if turn["role"] == "user"]


def whole_answers(ask: Callable[[str, int], str], questions: Sequence[str]) -> Answers:
    """The answers, up to the first that the context has no room for. ask(question, its number)."""
    answers = []
    for turn, question in enumerate(questions):
        try:
            answers.append(ask(question, turn))
        except (ContextFull, PromptTooLong):
            break
    return answers


def answers_of(
    bundle: Path, conversations: Sequence[Sequence[str]], gpu: bool = False
) -> list[Answers]:
    """On LiteRT-LM's Python API, on the CPU or on the GPU."""
    backend = BundleBackend(bundle, thread_count(bundle), gpu)
    messages: list[dict] = []

    def ask(question: str, turn: int) -> str:
        messages.append({"role": "user", "content": question})
        answer = "".join(backend.generate(messages, Sampler(), backend.context_length))
        if not (backend.usage and backend.usage.complete):
            raise ContextFull(f"{bundle}: the answer fills the context")
        messages.append({"role": "assistant", "content": answer.strip()})
        return answer

    found = []
    for questions in conversations:
        messages.clear()
        found.append(whole_answers(ask, questions))
    backend.close()
    return found


def answers_in_a_browser(
    bundle: Path, conversations: Sequence[Sequence[str]], name: str
) -> tuple[list[Answers], list[float]]:
    """The answers, and tokens per second of the last answer of each conversation."""
    open_browser = open_firefox if name == "firefox" else open_chromium
    modules = install(PAGE, RUNTIME)
    found, speeds = [], []
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        lay_out(site, modules, [bundle])
        with served(site) as url, open_browser() as page:
            page.goto(url)
            chat = Chat(page, seconds=600)
            chat.wait_until_ready()
            for questions in conversations:
                chat.new_chat()
                found.append(whole_answers(chat.ask, questions))
                speeds.append(chat.speed())
    return found, [speed for speed in speeds if speed]


@dataclass
class Comparison:
    """What `figures` is counted from. `add` takes one conversation."""

    answers: int = 0
    equal: int = 0
    words: int = 0  # of the CPU's answers
    equal_words: int = 0  # of them, before the first difference of their answer
    where_different: list[int] = field(default_factory=list)  # equal words of each such answer
    ended: int = 0  # conversations, by a full context

    def add(self, questions: Sequence[str], cpu: Answers, other: Answers) -> None:
        for question, expected, found in zip(questions, cpu, other, strict=False):
            equal_words = count_equal_words(expected, found)
            self.answers += 1
            self.words += len(expected.split())
            self.equal_words += equal_words
            if expected != found:
                self.where_different.append(equal_words)
                report(question, expected, found)
                return  # what follows has another history
            self.equal += 1
        whole = min(len(cpu), len(other))
        if whole < len(questions):
            self.ended += 1
            print(f"{questions[whole]!r}: the context is full, so here it ends", file=sys.stderr)

    def figures(self) -> dict[str, float | None]:
        different = self.where_different
        return {
            "agreement": self.equal / self.answers if self.answers else None,
            "agreement_of_words": self.equal_words / self.words if self.words else None,
            "equal_words_where_different": statistics.median(different) if different else None,
            "answers": self.answers,
            "ended_by_full_context": self.ended,
        }


def count_equal_words(one: str, other: str) -> int:
    """How many words the texts have in common before their first difference."""
    pairs = list(zip(one.split(), other.split(), strict=False))
    different = (number for number, (left, right) in enumerate(pairs) if left != right)
    return next(different, len(pairs))


def report(question: str, cpu: str, other: str) -> None:
    """Prints the first difference of two answers."""
    same = 0
    while cpu[same : same + 1] == other[same : same + 1]:
        same += 1
    print(
        f"{question!r}: the same for {same} characters, then\n"
        f"  CPU: {cpu[same:]!r}\n  other: {other[same:]!r}",
        file=sys.stderr,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", nargs="?", default="int8.litertlm", help="a file in --models")
    parser.add_argument("--models", type=Path, default=Path("models/bundle"), metavar="DIR")
    parser.add_argument(
        "--on",
        choices=RUNTIMES,
        default="chromium",
        help="default: %(default)s",
    )
    parser.add_argument("--limit", type=int, help="how many conversations (default: all)")
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit}: compare at least one conversation")
    return args


if __name__ == "__main__":
    run(main, arguments=None)
