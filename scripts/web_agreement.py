"""Compares a bundle's answers in a browser with those on the desktop, over the test split.

data/formatted/test.jsonl, models/bundle -> figures on standard output, differences on stderr

    python scripts/web_agreement.py                    # int8.litertlm
    python scripts/web_agreement.py int4.litertlm

Holds every conversation twice, greedily: on the page of `web.py` in Chromium (LiteRT-LM in
WebAssembly) and on LiteRT-LM's Python API. Each side continues from its own answers, so that a
conversation is compared up to and including its first difference. Needs npm and Chromium, and is no
stage of the pipeline.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from gemma_finetune.formats.chat_template import fold_system
from gemma_finetune.inference.bundle_inference import BundleBackend
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.runtime.threads import thread_count
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import read_jsonl, require
from gemma_finetune.web.browser import converse, open_chromium, speed, wait_until_ready
from gemma_finetune.web.layout import lay_out
from gemma_finetune.web.npm import install
from gemma_finetune.web.server import address, open_server
from web import LICENCE, PAGE, RUNTIME


def main() -> None:
    args = parse_arguments()
    bundle = require(args.models / args.bundle, "bundle")
    rows = list(read_jsonl(require("data/formatted/test.jsonl", "format")))[: args.limit]
    conversations = [questions_of(row["messages"]) for row in rows]
    modules = install(PAGE, RUNTIME)

    desktop = answers_on_the_desktop(bundle, conversations)
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder) / "site", PAGE, modules, [bundle], LICENCE)
        web, speeds = answers_in_chromium(Path(folder) / "site", conversations)

    compared = equal = 0
    for questions, expected, found in zip(conversations, desktop, web, strict=True):
        for turn, (one, other) in enumerate(zip(expected, found, strict=True)):
            compared += 1
            equal += one == other
            if one != other:
                report(questions[turn], one, other)
                break  # what follows has another history
    figures = {
        "agreement": equal / compared,
        "answers": compared,
        "conversations": len(conversations),
        "tokens_per_second": statistics.median(speeds),
    }
    print(json.dumps({f"web_{bundle.stem}": figures}, indent=2))


def questions_of(messages: list[dict]) -> list[str]:
    """What the user says; a system text is part of the first message, as in training."""
    return [turn["content"] for turn in fold_system(messages) if turn["role"] == "user"]


def answers_on_the_desktop(bundle: Path, conversations: Sequence[Sequence[str]]) -> list[list[str]]:
    backend = BundleBackend(bundle, thread_count(bundle))
    found = []
    for questions in conversations:
        messages, answers = [], []
        for question in questions:
            messages.append({"role": "user", "content": question})
            answer = "".join(backend.generate(messages, Sampler(), backend.context_length))
            messages.append({"role": "assistant", "content": answer.strip()})
            answers.append(answer)
        found.append(answers)
    backend.close()
    return found


def answers_in_chromium(
    site: Path, conversations: Sequence[Sequence[str]]
) -> tuple[list[list[str]], list[float]]:
    """The answers, and tokens per second of the last answer of each conversation."""
    answers, speeds = [], []
    with open_server(site, port=0) as server, open_chromium(seconds=600) as page:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(address(server))
        wait_until_ready(page)
        for questions in conversations:
            answers.append(converse(page, questions))
            speeds.append(speed(page) or 0)
        server.shutdown()
    return answers, speeds


def report(question: str, desktop: str, web: str) -> None:
    """Prints the first difference of two answers."""
    same = 0
    while desktop[same : same + 1] == web[same : same + 1]:
        same += 1
    print(
        f"{question!r}: the same for {same} characters, then\n"
        f"  desktop: {desktop[same:]!r}\n  browser: {web[same:]!r}",
        file=sys.stderr,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", nargs="?", default="int8.litertlm", help="a file in --models")
    parser.add_argument("--models", type=Path, default=Path("models/bundle"), metavar="DIR")
    parser.add_argument("--limit", type=int, help="how many conversations (default: all)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main, arguments=None)
