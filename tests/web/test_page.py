"""The page in a real Chromium, on the real runtime: answers, streaming, privacy, every message."""

import io
import itertools
import json
import re
import socket
import zipfile
from urllib.parse import quote

import pytest
from litert_lm_builder import litertlm_peek
from playwright.sync_api import expect

from exported import CACHE_LENGTH
from gemma_finetune.utils.errors import UserError
from gemma_finetune.web.chat import Chat
from gemma_finetune.web.chromium import open_chromium

pytestmark = [pytest.mark.slow, pytest.mark.browser]

# Put in front of worker.js: each piece of an answer takes 50 ms.
SLOWLY = """
const post = postMessage;
postMessage = message => {
  post(message);
  const end = performance.now() + (message.is === 'piece' ? 50 : 0);
  while (performance.now() < end);
};
"""
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3054832\n"
# No large buffer is given, as where memory is used up.
NO_MEMORY = """
const Bytes = Uint8Array;
self.Uint8Array = class extends Bytes {
  constructor(...given) {
    if (given[0] > 1e6) throw new RangeError('Array buffer allocation failed');
    super(...given);
  }
};
"""


@pytest.fixture(scope="module")
def browser(url):
    with open_chromium() as page:
        yield page.context.browser


def open_page(browser, url):
    """The page, in a session of its own, while it loads its first model."""
    page = browser.new_context(viewport={"width": 800, "height": 600}).new_page()
    page.set_default_timeout(60_000)
    page.requests = []
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(url)
    return page


@pytest.fixture
def page(browser, url):
    page = open_page(browser, url)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def shared(browser, url):
    """A page whose model is loaded, for tests that leave it as they find it."""
    page = open_page(browser, url)
    Chat(page).wait_until_ready()
    yield page
    page.context.close()


def change_worker(page, code):
    """Puts code in front of worker.js, and opens the page again."""

    def change(route):
        route.fulfill(response=(response := route.fetch()), body=code + response.text())

    page.route("**/worker.js", change)
    page.reload()


def error(page):
    """The text of the one error that the page shows."""
    alert = page.get_by_role("alert")
    alert.wait_for()
    return alert.inner_text()


def send(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_label("Message", exact=True).press("Enter")


def open_file(page, name, content):
    page.locator("#file").set_input_files({"name": name, "mimeType": "", "buffer": content})


def test_conversations_of_the_test_split_get_the_desktop_s_answers(shared, conversations):
    page = shared
    for questions, answers in conversations:
        assert Chat(page).converse(questions) == answers


def test_an_answer_comes_in_pieces(shared, conversations):
    """Seen by the page itself: it notes the text of the answer after each change."""
    questions, answers = max(conversations, key=lambda pair: len(pair[1][0]))
    page = shared
    page.evaluate(
        """() => {
          window.seen = [];
          const note = () => seen.push(document.querySelector('.model')?.textContent ?? '');
          new MutationObserver(note).observe(document.querySelector('#chat'),
            {childList: true, subtree: true});
        }"""
    )
    page.get_by_role("button", name="New chat").click()
    page.locator("#chat:empty").wait_for(state="attached")
    assert Chat(page).ask(questions[0], turn=0) == answers[0]
    seen = [text.removeprefix("Model: ") for text in page.evaluate("window.seen")]
    grown = [text for text, _ in itertools.groupby(seen) if text]
    assert len(grown) > 2 and grown[-1] == answers[0]
    assert all(later.startswith(text) for text, later in itertools.pairwise(grown))
    speed, first, context = page.locator("#stats").inner_text().split(" · ")
    assert re.fullmatch(r"\d+ tokens/s", speed) and re.fullmatch(
        r"First token after \d+\.\d\d s", first
    )
    assert re.fullmatch(rf"Context: \d+ of {CACHE_LENGTH} tokens", context)


def test_no_request_leaves_the_origin_and_none_can(shared, url, conversations):
    page = shared
    Chat(page).converse(conversations[0][0])
    origin = url.removesuffix("sub/path/")
    assert len(page.requests) > 10
    assert {one.removeprefix("blob:")[: len(origin)] for one in page.requests} == {origin}
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        foreign.settimeout(1)
        target = f"http://127.0.0.1:{foreign.getsockname()[1]}/"
        send = f"fetch('{target}', {{mode: 'no-cors'}}).then(() => 'sent', () => 'refused')"
        assert page.evaluate(send) == "refused"
        assert page.workers[0].evaluate(send) == "refused"
        with pytest.raises(TimeoutError):
            foreign.accept()


def test_stop_keeps_the_conversation_and_new_chat_ends_a_running_answer(
    page, chatty, conversations
):
    questions, answers = conversations[0]
    change_worker(page, SLOWLY)
    Chat(page).wait_until_ready()
    began = page.locator(".model", has_text=re.compile("Model: .+"))
    send(page, chatty)
    began.wait_for()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    page.keyboard.press("Escape")
    page.get_by_text("Stopped").wait_for()
    expect(page.locator(".model")).to_have_attribute("aria-busy", "false")
    stopped_after = context_used(page)
    Chat(page).ask("ok", turn=1)
    assert context_used(page) > stopped_after

    send(page, chatty)
    began.nth(2).wait_for()
    page.get_by_role("button", name="New chat").click()
    Chat(page).wait_until_ready()
    assert Chat(page).ask(questions[0], turn=0) == answers[0]


def context_used(page):
    return int(re.search(r"Context: (\d+) of", page.locator("#stats").inner_text())[1])


def test_a_full_context_is_said_and_a_new_chat_helps(shared, too_long, overflowing, conversations):
    """The runtime itself would answer nothing, without an error."""
    questions, answers = conversations[0]
    page = shared
    send(page, too_long)
    assert error(page) == (
        f"This message does not fit into what is left of the {CACHE_LENGTH} tokens that the model "
        "can hold. Shorten it, or press “New chat”."
    )
    page.get_by_role("button", name="New chat").click()
    page.locator("#chat:empty").wait_for(state="attached")
    Chat(page).ask(overflowing[0], turn=0)
    send(page, overflowing[1])
    assert error(page).startswith(f"The conversation fills the {CACHE_LENGTH} tokens that this")
    expect(page.get_by_label("Message", exact=True)).to_be_disabled()
    assert Chat(page).converse(questions) == answers


def test_a_file_is_dropped(page, conversations):
    questions, answers = conversations[0]
    Chat(page).wait_until_ready()
    transfer = page.evaluate_handle(
        """async () => {
          const reply = await fetch('models/float32.litertlm');
          const transfer = new DataTransfer();
          transfer.items.add(new File([await reply.blob()], 'mine.litertlm'));
          return transfer;
        }"""
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.get_by_text("mine.litertlm is ready.").wait_for()
    chosen = page.locator("#model").evaluate("list => list.selectedOptions[0].text")
    assert chosen.startswith("mine.litertlm (")
    assert Chat(page).converse(questions) == answers


def test_a_model_is_asked_for_whatever_is_in_its_name(browser, url):
    listed = [{"name": "a#b 50%20?.litertlm", "bytes": 9}]
    page = browser.new_context().new_page()
    page.route("**/models.json", lambda route: route.fulfill(json=listed))
    page.goto(url)
    assert f"/sub/path/models/{quote(listed[0]['name'])}" in error(page)
    page.context.close()


def test_files_that_are_no_bundle_are_named_in_plain_words(page, bundles, parts):
    whole = bundles["litertlm"].read_bytes()
    half = whole[: len(whole) // 2]
    size = f"at least {end_of_sections(bundles['litertlm']):,} bytes"
    for name, content, expected in [
        ("a.task", bundles["task"].read_bytes(), "a.task is a .task, which MediaPipe runs."),
        ("b.litertlm", b"\n<!doctype html><p>Not found", "b.litertlm is a web page, not a model."),
        ("c.litertlm", half, f"c.litertlm is cut short: it has {len(half):,} of {size}. Download"),
        ("d.litertlm", whole[:20_000], f"d.litertlm is cut short: it has 20,000 of {size}."),
        ("e.litertlm", b"", "e.litertlm is cut short: it has 0 of at least 16,384 bytes."),
        ("f.litertlm", parts.tflite.read_bytes(), "f.litertlm is not a .litertlm bundle."),
        ("g.litertlm", without_model(parts), "g.litertlm holds no chat model that this page"),
        ("h.litertlm", whole[:70_000] + bytes(len(whole) - 70_000), "h.litertlm did not load."),
        ("i.litertlm", whole[:10], "i.litertlm is cut short: it has 10 of at least 16,384 bytes."),
        ("j.litertlm", whole[:4], "j.litertlm is cut short: it has 4 of at least 16,384 bytes."),
        ("k.litertlm", b"PK, as text", "k.litertlm is not a .litertlm bundle."),
        ("l.zip", zipped("int8.litertlm"), "l.zip is a ZIP archive. Unpack it"),
        ("m.litertlm", b"\xef\xbb\xbf<html>", "m.litertlm is a web page, not a model."),
        ("n.litertlm", "<html>".encode("utf-16"), "n.litertlm is a web page, not a model."),
        ("o.litertlm", LFS_POINTER, "o.litertlm is a pointer of Git LFS."),
    ]:
        open_file(page, name, content)
        assert error(page).startswith(expected)
        expect(page.get_by_label("Message", exact=True)).to_be_disabled()
    page.locator("#model").select_option(index=1)
    page.get_by_text("int8.litertlm is ready.").wait_for()


def end_of_sections(bundle):
    table = litertlm_peek.read_litertlm_header(str(bundle), io.StringIO()).SectionMetadata()
    return max(table.Objects(index).EndOffset() for index in range(table.ObjectsLength()))


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"LITERTLM")
    return file.getvalue()


def without_model(parts):
    """A .litertlm of the tokenizer alone."""
    from litert_lm_builder.litertlm_builder import LitertLmFileBuilder

    builder, file = LitertLmFileBuilder(), io.BytesIO()
    builder.add_sentencepiece_tokenizer(str(parts.tokenizer))
    builder.build(file)
    return file.getvalue()


def test_too_little_memory_is_said(page):
    change_worker(page, NO_MEMORY)
    assert error(page).startswith("The browser has too little memory: float32.litertlm takes")


def test_a_server_without_the_model_is_said(page):
    page.route("**/float32.litertlm", lambda route: route.fulfill(status=404))
    page.reload()
    said = "the page says: float32.litertlm did not load: the server answered 404 for http"
    with pytest.raises(UserError, match=said):
        Chat(page).wait_until_ready()
    with pytest.raises(UserError, match=said):
        Chat(page).new_chat()  # which opens the model again


@pytest.mark.parametrize("lacking", ["Worker", "WebAssembly"])
def test_a_browser_that_lacks_something_is_told_what(page, lacking):
    page.add_init_script(f"delete window.{lacking}")
    page.reload()
    assert error(page).startswith(f"This browser lacks {lacking}, which the runtime needs.")


def test_a_second_tab_is_told_of_the_first(page, url):
    second = page.context.new_page()
    second.goto(url)
    second.get_by_text("Open in another tab, too").wait_for()
    assert page.get_by_text("Open in another tab, too").count() == 0


def test_keyboard_screen_reader_and_phone(shared):
    """Every control has a name, Tab reaches it, and nothing is wider than a phone."""
    page = shared
    page.set_viewport_size({"width": 320, "height": 560})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_label("Message", exact=True).fill("hi")
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert {"model", "open", "new", "chat", "send"} <= set(reached)
    expect(page.get_by_role("log", name="Conversation")).to_be_visible()
    for role, name in [("button", "Send"), ("button", "New chat"), ("textbox", "Message")]:
        expect(page.get_by_role(role, name=name)).to_be_visible()


def test_the_page_is_small_and_the_model_list_is_what_is_there(site):
    page = site / "sub" / "path"
    names = ("index.html", "chat.js", "worker.js", "style.css")
    assert sum(len((page / name).read_text().splitlines()) for name in names) < 500
    listed = json.loads((page / "models.json").read_text())
    assert [one["name"] for one in listed] == ["float32.litertlm", "int8.litertlm"]
