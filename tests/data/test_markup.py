"""Markup of other models' chat templates is told from texts about it by its place."""

import json

import pytest

from gemma_finetune.data.markup import end_of_template, find_markup
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check


@pytest.mark.parametrize("text, piece", [
    ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>user"),
    ("Hi<|im_end|><|im_start|>assistant\nHello", "<|im_start|>assistant"),
    ("Hello<|im_end|>", "<|im_end|>"), ("Hello</s>", "</s>"), ("Hello </s>\n", "</s>"),
    ("Hello<|eot_id|>", "<|eot_id|>"), ("Hello<|endoftext|>", "<|endoftext|>"),
    ("Hello<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), ("Hello<|return|>", "<|return|>"),
    ("<s>[INST] Hi [/INST]", "[INST]"), ("[INST] Hi [/INST] Hello", "[INST]"),
    ("Hi [/INST]", "[/INST]"),
    ("<|user|>\nHi", "<|user|>"), ("Hi\n<|assistant|>\n", "<|assistant|>"),
    ("<|begin_of_text|>Hi", "<|begin_of_text|>"), ("<|turn>user\nHi", "<|turn>user"),
    ("a <|start_header_id|>user<|end_header_id|> b", "<|start_header_id|>user<|end_header_id|>"),
    ("<|prompter|>Hi<|endoftext|><|assistant|>", "<|prompter|>"), ("Hi<|assistant|>",
                                                                   "<|assistant|>"),
    ("Hello<|im_end|>\n<|im_start|>", "<|im_start|>"), ("<<SYS>>\nS\n<</SYS>>\n\nHi", "<<SYS>>"),
    ("<reserved_106>Hi<reserved_107>", "<reserved_106>"), ("Hello<eom>", "<eom>"),
    ("<|Human|>: Hi<eoh>", "<|Human|>"), ("Hello<|stop|>", "<|stop|>"),
    ("<|channel|>analysis<|message|>a", "<|channel|>analysis"), ("<s>Hello</s>", "</s>"),
    ('<details type="tool_calls" done="true">\n</details>\nHello', '<details type="tool_calls"'),
    ('Hi\n<details type="reasoning" done="true">\n> a</details>', '<details type="reasoning"'),
])  # fmt: skip
def test_markup_where_a_template_has_it(text, piece):
    assert find_markup(text) == piece


@pytest.mark.parametrize("text", [
    "The token <|im_start|> begins a turn.", "Llama ends a text with </s>, GPT with <|endoftext|>.",
    "It ends with `</s>`", "```\n<|im_start|>user\nHi<|im_end|>\n```", "`<|user|>` begins a turn.",
    "New: <s>old</s>", "<s>a</s> and <s>b</s>", "a <| b |> c", "Use [INST] and [/INST] around it.",
    '<details open><summary>a</summary>b</details>', '`<details type="tool_calls">` is a block.',
    "Llama puts <<SYS>> first.", "What is <reserved_106>?", "x[i] <s", "| a |\n|---|\n| b |",
])  # fmt: skip
def test_a_text_about_markup_stays(text):
    assert find_markup(text) is None


def test_a_question_may_end_with_what_it_asks_about():
    assert find_markup("What is <|endoftext|>", is_question=True) is None
    assert find_markup("Hi<|endoftext|>", is_question=True) == "<|endoftext|>"


@pytest.mark.parametrize("question, line", [
    ("\n\nHuman: Hi\n\nAssistant:", "Assistant:"), ("Human:Hi\nAssistant:", "Assistant:"),
    ("User: Hi\nBot: Hello\nUser: How?\nBot:", "Bot:"), ("User: Hi\nAI :", "AI :"),
    ("A chat of two. USER: Hi ASSISTANT:", "ASSISTANT:"), ("Human: Complete it.\nAI:", "AI:"),
    ("Below is an instruction.\n\n### Instruction:\nHi\n\n### Response:\n", "### Response:"),
    ("### Human: Hi\n### Assistant:", "### Assistant:"),
    ("### Question:\nHi\n### Answer:", "### Answer:"), ("Hi\n\n###\n\n", "###"),
    ("[Round 1]\n\n问：你好\n\n答：", "答："), ("用户：你好\n助手：", "助手："),
])  # fmt: skip
def test_a_template_of_plain_words(question, line):
    assert end_of_template(question) == line
    assert find_markup(question) is None


@pytest.mark.parametrize("question", [
    "Complete the chat.\nUser: Hi\nBot:", "Question: 2 + 2?\nAnswer:", "What is new in AI:",
    "What does the line\n`Assistant:` mean?", "Sum up the text.\n###\nHi\n###", "###",
    "Write it so:\n## Output", "Name it.\n### Output:", "Which one?\nOption A:\nOption B:",
    "The user: Hi. The bot:", "Is she an\nassistant: yes or no?", "Q: Who?\nA:", "cat ->",
    "Hi\n### Responses of the model", "Continue.\n\nHuman: Hi\n\nAssistant:", "Name a\nBot:",
    "Write one.\nResponse:", "Who is it?\nAgent:", "Customer: Hi, it is late.\n\nResponse:",
    "Extract the model.\nUser: my car, a Ford Focus, broke\nModel:", "Translate:\nAssistant:",
    "Write the next line.\nUser: Hi\nAgent:", "Instruction:\nHi\nResponse:", "User: Hi\nGPT:",
    "Reply as the bot.\nUser: Hi\nBot:", "问：天空是什么颜色？\n答：", "问题：你好\n答：",
])  # fmt: skip
def test_a_question_of_plain_words_stays(question):
    assert end_of_template(question) is None


def test_a_row_with_markup_is_refused_by_turn():
    row = {"prompt": "Hi", "completion": "Hello</s>"}
    with pytest.raises(Rejection, match="turn 2 holds '</s>' of another .* template") as rejection:
        check(json.dumps(row).encode(), "auto", [])
    assert rejection.value.reason == "foreign_markup"


def test_a_row_that_ends_as_a_template_is_refused_by_turn():
    row = {"prompt": "Human: Hi\n\nAssistant:", "completion": "Hello"}
    with pytest.raises(Rejection) as rejection:
        check(json.dumps(row).encode(), "auto", [])
    message = (
        "turn 1 ends as a prompt template (`Assistant:`); remove that line, or write the turns of "
        "a whole chat as `messages`"
    )
    assert (rejection.value.reason, rejection.value.message) == ("foreign_markup", message)


def test_long_texts_take_linear_time():
    for part in ("\n", "<", "<|", "</s>", " <s>", "[INST]", "<|user|", "`", "```", "<|end|> "):
        find_markup(part * 100_000 + "<|")
    for part in ("\n", "Human:\n", "Assistant:\n", "### ", "###\n", "### Input:\n"):
        for end in ("", "\nAssistant:", "\n### Answer:"):
            end_of_template(part * 20_000 + end)
