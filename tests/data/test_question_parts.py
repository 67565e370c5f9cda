"""Keys of text that belongs to a question, told from metadata by word and by value."""

import pytest

from gemma_finetune.data.question_parts import is_part

TEXT = "The tower is tall."


@pytest.mark.parametrize("key", (
    "inputs input_text inputText Input-Text user_input user_message human_prompt input_2 ctx ctxs "
    "context_text additional_context contextDocs docs doc chunks text_chunks retrieved_docs "
    "retrievedPassages source_documents supporting_facts search_results text_b text2 sentence_a "
    "text_pair passage_1 document_text article_body source_text email_body code_snippet "
    "table_schema question_text previous_turns chat_history pastMessages conversation_context "
    "background_info page_content choices option_a opb distractor1"
).split())  # fmt: skip
def test_a_part_of_a_question(key):
    assert is_part(key, TEXT) and is_part(key, [TEXT, "b"]) and is_part(key, [{"text": TEXT}])


@pytest.mark.parametrize("key", (
    "document_id context_length context_type article_url doc_type text_length input_lang "
    "source sources user_name user_email original_question question_type choice option "
    "has_context negative_ctxs answer_text output_text label_text language_code reference "
    "message turn_id history_length chunk_size conversation_id summary"
).split())  # fmt: skip
def test_no_part_of_a_question(key):
    assert not is_part(key, TEXT)


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
