"""The bundles of the shared model, and the page with them, laid out below a path of a host."""

import itertools
from pathlib import Path

import pytest

from exported import CACHE_LENGTH, bundles, exact, parts, quantized  # noqa: F401
from gemma_finetune.inference.bundle_inference import BundleBackend
from gemma_finetune.inference.sampler import Sampler
from gemma_finetune.web.layout import PAGE, lay_out
from gemma_finetune.web.npm import install
from gemma_finetune.web.server import served
from said import said_in_the_test_split

GREEDY = Sampler()


@pytest.fixture(scope="session")
def modules(tmp_path_factory) -> Path:
    """node_modules of the page, from npm. Read only."""
    return install(PAGE, tmp_path_factory.mktemp("npm") / "runtime", seconds=120)


@pytest.fixture(scope="session")
def site(tmp_path_factory, modules, bundles, exact) -> Path:  # noqa: F811
    """A host's root folder. The page is in sub/path/, with two models."""
    root = tmp_path_factory.mktemp("host")
    (root / "sub").mkdir()
    lay_out(root / "sub" / "path", modules, [exact, bundles["litertlm"]])
    return root


@pytest.fixture(scope="session")
def url(site) -> str:
    """Of the page, while a server runs that sends no header about security."""
    with served(site) as address:
        yield f"{address}sub/path/"


@pytest.fixture(scope="session")
def desktop(exact):  # noqa: F811
    backend = BundleBackend(exact, threads=1)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def conversations(desktop):
    """Of the test split: questions, and the desktop's answers, which all end by themselves."""
    answered = ((said, answers(desktop, said)) for said in said_in_the_test_split())
    found = list(itertools.islice((pair for pair in answered if pair[1]), 6))
    assert len(found) == 6 and max(len(questions) for questions, _ in found) > 2
    return found


def answers(backend, questions):
    """The answers, or None if one is empty, is cut off or holds what a page shows differently."""
    messages, given = [], []
    for question in questions:
        messages.append({"role": "user", "content": question})
        given.append("".join(backend.generate(messages, GREEDY, 30)))
        messages.append({"role": "assistant", "content": given[-1].strip()})
        if not (given[-1] and given[-1].isprintable() and backend.usage.complete):
            return None
    return given if len(questions) > 1 else None


@pytest.fixture(scope="session")
def too_long() -> str:
    """A question of more tokens than the context."""
    return "Turn on the light. " * 100


@pytest.fixture(scope="session")
def chatty(desktop):
    """A question whose answer takes 100 tokens or more."""
    for question, *_ in said_in_the_test_split():
        list(desktop.generate([{"role": "user", "content": question}], GREEDY, 100))
        if not desktop.usage.complete:
            return question


@pytest.fixture(scope="session")
def overflowing(desktop, chatty, too_long):
    """Two questions. The second one's answer reaches the end of the context."""
    for sentences in range(1, 12):
        questions = [too_long[: 19 * sentences].strip(), chatty]
        messages, complete = [], []
        for question in questions:
            messages.append({"role": "user", "content": question})
            text = "".join(desktop.generate(messages, GREEDY, CACHE_LENGTH))
            messages.append({"role": "assistant", "content": text.strip()})
            complete.append(desktop.usage.complete)
        if complete == [True, False]:
            return questions
