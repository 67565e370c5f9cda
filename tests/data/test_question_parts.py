"""Keys of text that belongs to a question, told from metadata by word and by value."""

import pytest

from gemma_finetune.data.question_parts import is_beside_turns, is_part, texts_in

TEXT = "The tower is tall."


@pytest.mark.parametrize("key", (
    "inputs input_text inputText Input-Text user_input user_message human_prompt input_2 ctx ctxs "
    "context_text additional_context contextDocs docs doc chunks text_chunks retrieved_docs "
    "retrievedPassages source_documents supporting_facts search_results text_b text2 sentence_a "
    "text_pair passage_1 document_text article_body source_text email_body code_snippet "
    "table_schema question_text previous_turns chat_history pastMessages conversation_context "
    "background_info page_content choices option_a opb distractor1 "
    "question_body starter_code prompt_2 question2 suffix"
).split())  # fmt: skip
def test_a_part_of_a_question(key):
    assert is_part(key, TEXT) and is_part(key, [TEXT, "b"]) and is_part(key, [{"text": TEXT}])


@pytest.mark.parametrize("key", (
    "document_id context_length context_type article_url doc_type text_length input_lang "
    "source sources user_name user_email original_question question_type choice option "
    "has_context negative_ctxs answer_text output_text label_text language_code reference "
    "message turn_id history_length chunk_size conversation_id summary prompt_id question_no"
).split())  # fmt: skip
def test_no_part_of_a_question(key):
    assert not is_part(key, TEXT)


@pytest.mark.parametrize("key", (
    "definition taskDefinition task_description task_instruction Scenario situation diff git_diff "
    "ocr_text stack_trace email_thread policy rules guidelines constraints"
).split())  # fmt: skip
def test_text_that_may_also_be_a_name(key):
    assert is_part(key, "Translate this sentence into French.")
    assert is_part(key, ["Be brief.", "Be kind."])
    address = "https://example.org/policies/of/the/shop/returns-and-refunds-of-2024.html"
    for name in ("refund", "refund request", ["format:title"], 3, None, address):
        assert not is_part(key, name)
    assert not is_beside_turns(key, "Translate this sentence into French.")


@pytest.mark.parametrize("value", [
    "a.pdf", ["a.pdf", "b.pdf"], "https://a.org/b", "doc_17", "Q123", "yes", 7, [1, 2], True,
])  # fmt: skip
def test_a_document_that_is_only_named_is_metadata(value):
    for key in ("source_document", "docs", "retrieved_chunks", "ctx"):
        assert not is_part(key, value)


@pytest.mark.parametrize("value", ["b", ["a", "b"], TEXT, ["a.pdf", TEXT]])
def test_short_text_is_text(value):
    assert is_part("chunks", value) and is_part("source_documents", value)


def test_only_an_option_may_be_a_number():
    assert is_part("option_a", 4) and not is_part("context_2", 4) and not is_part("code", 4)


@pytest.mark.parametrize("key, value", [
    ("code", "df.head()"), ("code", "a_b=1;print(a_b)"), ("table", '{"a":1,"b":2}'),
    ("document", '{"name":"Bob","age":3}'), ("choices", ["1.5", "2.5"]), ("options", "a/b/c/d"),
    ("choices", [1, 2]), ("choices", {"text": ["a", "b"]}), ("options", {"A": "a", "B": "b"}),
    ("code_snippet", "df.head"), ("choices", ["yes", "no"]), ("input_text", "well-known"),
    ("dialogue", "A:hi"), ("user_input", "2024-01-01"), ("schema", "users:id,name"),
    ("transcript", "hello-there"), ("passage", "f(x)"), ("sentence", "C'est-la-vie"),
    ("article", "巴黎奥运会于2024年开幕"), ("files", [{"name": "a.txt", "content": "abc"}]),
    ("file", {"name": "a b", "text": "abc"}),
])  # fmt: skip
def test_short_text_without_spaces_is_text(key, value):
    assert is_part(key, value)


@pytest.mark.parametrize("key, value", [
    ("article", "a.pdf"), ("email", "ada@example.org"), ("transcript", "call_3.txt"),
    ("webpage", "https://a.org/b?c=d(e)"), ("code", "E-404"), ("code", "en_US"), ("code", "12"),
    ("sentences", "3"), ("user_input", "N/A"), ("code", "true"), ("files", ["a b.txt"]),
    ("file", "My notes.txt"), ("files", [{"name": "a b", "type": "text"}]),
    ("documents", [{"id": "a.pdf", "title": "A report", "score": 0.4}]), ("passage_1", "doc_17"),
    ("options", {"temperature": 0.2, "stop": "a b"}), ("choices", 4),
])  # fmt: skip
def test_what_names_or_counts_text_is_metadata(key, value):
    assert not is_part(key, value)


@pytest.mark.parametrize("key, names", [
    ("document", "report_(1).pdf Q1,final.pdf [2023]_x.pdf data/year=2023/a.json doc-17 Übung.pdf"),
    ("webpage", "en.wikipedia.org/wiki/Paris en.wikipedia.org main.c"),
    ("article", "news/123 doc-17"), ("story", "s_12"), ("abstract", "arxiv:2301.00001"),
    ("table", "2-1000181-1 order_items"), ("paragraph", "3.2"), ("evidence", "p.12"),
    ("schema", "concert_singer"), ("code", "M54.5 a_b.py python3"),
])  # fmt: skip
def test_names_and_numbers_of_documents_are_metadata(key, names):
    for name in names.split():
        assert not is_part(key, name) and not is_part(key, [{"text": name}])


@pytest.mark.parametrize("key, value", [
    ("documents", [{"id": "1", "title": "T", "author": "Bob", "date": "May 2020"}]),
    ("documents", {"sha256": "ab cd", "mime_type": "a b", "metadata": {"a": "b c"}}),
    ("file", {"path": "a.py", "language": "python"}), ("options", {"a": 1, "model": "x"}),
    ("choices", [{"index": 0, "finish_reason": "stop"}]),
])  # fmt: skip
def test_what_is_about_a_document_is_metadata(key, value):
    assert not is_part(key, value)


def test_texts_of_objects():
    document = {"text": "Paris is.", "lang": "en", "summary": "a b", "metadata": {"by": "Bob"}}
    assert list(texts_in([document, {"Page_Content": "c", "note": "d"}])) == ["Paris is.", "c"]
    assert list(texts_in({"text": None, "note": "d", "part_2": ["e"], "state": "done"})) == [
        "d",
        "e",
    ]
