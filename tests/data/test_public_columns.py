"""Rows as public data sets have them, with their usual other columns: all are read."""

import json

import pytest

from gemma_finetune.data.validation import check

ALLOWED = ["line_breaks", "trim", "join_system", "merge_turns", "drop_trailing_user"]
TURNS = [("human", "Hi"), ("gpt", "Hello")]
USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
TURN_PAIR = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
ALPACA_TEXT = "Below is ...\n\n### Instruction:\nHi\n\n### Response:\nHello"


def checked(row):
    return check(json.dumps(row).encode(), "auto", ALLOWED, {})


PUBLIC = {
    "alpaca": {"instruction": "Hi", "input": "", "output": "Hello", "text": ALPACA_TEXT},
    "python-alpaca": {"instruction": "Hi", "input": "", "output": "Hello", "prompt": ALPACA_TEXT},
    "dolly": {"instruction": "Hi", "context": "", "response": "Hello", "category": "open_qa"},
    "sharegpt": {"id": "a_1", "conversations": TURN_PAIR},
    "slim-orca": {"conversations": [TURN_PAIR[0] | {"weight": None}, TURN_PAIR[1] | {"weight": 1}]},
    "no-robots": {"prompt": "Hi", "prompt_id": 9, "messages": [USER, ANSWER], "category": "Chat"},
    "ultrachat": {"prompt": "Hi", "messages": [USER, ANSWER], "data": ["Hi", "Hello"]},
    "magpie": {"uuid": "1", "instruction": "Hi", "response": "Hello", "conversations": TURN_PAIR,
               "gen_input_configs": {"temperature": 1.0}, "knowledge": "To solve this ...",
               "difficulty": "easy", "quality_explanation": "Clear.", "intent": "A greeting."},
    "hermes": {"conversations": TURN_PAIR, "title": None, "custom_instruction": None, "idx": None,
               "system_prompt": None, "skip_prompt_formatting": False, "source": "x", "views": 3.0},
    "metamath": {"type": "GSM_Rephrased", "query": "Hi", "original_question": "Ho",
                 "response": "Hello"},
    "gsm8k": {"question": "Hi", "answer": "Hello"},
    "numina": {"source": "x", "problem": "Hi", "solution": "Hello", "messages": [USER, ANSWER]},
    "banking": {"text": "Hi", "label": "Hello"},
    "sentiment-text": {"text": "Hi", "label": "Hello", "id": 4, "title": "A greeting"},
    "helpsteer": {"prompt": "Hi", "response": "Hello", "helpfulness": 4, "correctness": 0},
    "support": {"flags": "BQZ", "instruction": "Hi", "category": "ORDER", "intent": "cancel_order",
                "response": "Hello"},
    "mathinstruct": {"source": "data/CoT/a.json", "instruction": "Hi", "output": "Hello"},
    "openai": {"messages": [USER, ANSWER | {"weight": 1, "refusal": None}], "tools": None,
               "parallel_tool_calls": False},
    "oasst": {"text": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
              "lang": "en", "deleted": False, "review_result": True, "synthetic": False},
    "argilla": {"question": "Hi", "answer": "Hello", "status": "completed", "url": "http://x",
                "explanation": "It greets.", "topic": "x", "lang": "en", "score": 0, "rank": 0},
    "counts": {"question": "Hi", "answer": "Hello", "code": 33, "sentences": 3, "paragraph": 4,
               "article": 12, "target": 1, "attachments": 0, "photo": False, "context": 3},
    "scores": {"prompt": "Hi", "response": "Hello", "A": 0.1, "B": 0.9, "context": True},
    "reactions": {"prompt": "Hi", "response": "Hello", "thumbs_up": 0, "liked": 0, "is_chosen": 0,
                  "correct": 0, "valid": 0, "keep": 0, "deleted": 1, "is_accepted": False},
    "orders": {"question": "Hi", "answer": "Hello", "status": "rejected", "record_status": "done"},
    "counts-of-turns": {"messages": [USER | {"images": 0}, ANSWER | {"keep": 0}], "context": 3,
                        "answer": 7, "image": False, "persona": "A cat", "personality": "Shy"},
    "empty-cells": {"messages": [USER, ANSWER], "context": "null", "instruction": "null",
                    "output": "[]"},
    "masks": {"prompt": "Hi", "response": "Hello", "training": ["gsm8k"], "trained": ["a", "b"],
              "loss": [1.43, 0.9], "skip": ["x"], "exclude": ["a"], "ignore": "[PAD]"},
    "unmasked": {"messages": [turn | {"skip": False, "exclude": False, "masked": "false",
                              "ignore": 0, "no_loss": False} for turn in (USER, ANSWER)]},
    "arena-scores": {"prompt": "Hi", "response": "Hello", "chosen_rating": 4, "rejected_score": 0.1,
                     "chosen_model": "x y", "better_response_id": 0, "preference": "formal"},
    "evaluated": {"messages": [USER, ANSWER | {"loss": 0.43}], "loss": 0.0, "train_loss": 0.12,
                  "eval_loss": 0, "train_id": 1, "train_split": "a b", "training_sample": 0,
                  "learning_objective": "To greet", "mask_name": "foo", "mask": "[MASK]"},
    "tokenized": {"messages": [USER, ANSWER], "input_ids": [1, 2], "attention_mask": [1, 1],
                  "special_tokens_mask": [0, 1], "labels": [3, 5], "token_type_ids": [0, 0]},
    "retrieval": {"question": "Hi", "answer": "Hello", "source_document": "a.pdf",
                  "documents": ["a.pdf", "b.pdf"], "doc_type": "a report", "context_length": 4096,
                  "document_id": "d 1", "negative_ctxs": ["a b"], "sources": ["a book"],
                  "has_context": "partly", "chunk_size": 512, "supporting_docs": ["Q12"]},
    "reasoning-model": {"prompt": "Hi", "response": "Hello", "reasoning_model": "o1 mini",
                        "thinking": {"type": "enabled", "budget_tokens": 1024}, "reasoning": "low",
                        "analysis_date": "May 1", "error_analysis": "None found.",
                        "reasoning_effort": "high", "reasoning_type": "a b", "cot_tokens": 12},
    "people": {"messages": [USER, ANSWER], "user_weight": 72, "target_weight": 65.5, "sys_id": "s",
               "user_email": "a@b.c", "systems": "linux", "operating_system": "linux"},
    "lmsys": {"conversation_id": "3", "model": "x", "conversation": [USER, ANSWER], "turn": 1,
              "openai_moderation": [{"flagged": False}], "redacted": False},
    "magpie-ultra": {"instruction": "Hi", "response": "Hello", "conversation": [USER, ANSWER]},
    "capybara": {"source": "x", "conversation": [{"input": "Hi", "output": "Hello"}]},
    "firefly": {"conversation_id": 1, "conversation": [{"human": "Hi", "assistant": "Hello"}]},
    "masked-question": {"messages": [USER | {"skip": False, "weight": 0}, ANSWER]},
}  # fmt: skip


@pytest.mark.parametrize("row", PUBLIC.values(), ids=PUBLIC)
def test_public_data_is_read(row):
    assert checked(row).turns == TURNS


def test_public_data_with_system_texts_and_contexts():
    orca = {"id": "t0", "system_prompt": "S", "question": "Hi", "response": "Hello"}
    assert checked(orca).turns == [("system", "S"), *TURNS]
    squad = {"id": "5", "title": "Tower", "context": "C", "question": "Hi", "answer": "Hello"}
    assert checked(squad).turns == [("human", "Hi\n\nC"), ("gpt", "Hello")]
