import json

import pytest

from gemma_finetune.training import examples
from gemma_finetune.training.examples import Examples, tokenize, tokenize_lines
from gemma_finetune.utils import parallel
from gemma_finetune.utils.errors import UserError

GOOD = {"text": "<start_of_turn>user\nhello<end_of_turn>\n<start_of_turn>model\nhi<end_of_turn>\n"}


@pytest.fixture
def tokenize_rows(tmp_path, tokenizer_path):
    """Tokenizes rows, or the bytes of a file."""

    def run(rows, length=64, folder="tokens"):
        source = tmp_path / "train.jsonl"
        text = rows
        if isinstance(rows, list):
            text = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        source.write_bytes(text)
        return tokenize(source, tokenizer_path, length, tmp_path / folder)

    return run


def numbered(count):
    return [{"text": GOOD["text"].replace("hello", f"light {n}")} for n in range(count)]


def in_parallel(monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK_ROWS", 5)  # 50 rows: enough chunks for processes
    monkeypatch.setattr(parallel, "count_cores", lambda: 2)


def test_each_conversation_is_what_the_tokenizer_makes_of_it(tokenize_rows, tokenizer):
    found = tokenize_rows([GOOD, *numbered(3)])
    for row, example in zip([GOOD, *numbered(3)], found, strict=True):
        ids, supervised = tokenizer.encode_conversation(row["text"])
        assert (example.ids.tolist(), example.supervised.tolist()) == (ids, supervised)
        assert (example.ids.dtype, example.supervised.dtype) == ("int32", "bool")


def test_processes_write_the_same_bytes(tokenize_rows, tmp_path, monkeypatch):
    tokenize_rows(numbered(50), folder="one")
    in_parallel(monkeypatch)
    tokenize_rows(numbered(50), folder="many")
    for name in Examples.FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    assert (tmp_path / "one/ids").stat().st_size > 1000


def test_what_is_there_is_not_tokenized_again_unless_it_is_damaged(
    tokenize_rows, tmp_path, monkeypatch
):
    wanted = tokenize_rows(numbered(3)).ids.tolist()
    with monkeypatch.context() as patch:
        patch.setattr(examples, "map_ordered", None)
        assert tokenize_rows(numbered(3)).ids.tolist() == wanted
    for name in Examples.FILES:
        path = tmp_path / "tokens" / name
        path.write_bytes(path.read_bytes()[:-4])
        assert tokenize_rows(numbered(3)).ids.tolist() == wanted
    (tmp_path / "tokens/ids").unlink()
    assert tokenize_rows(numbered(3)).ids.tolist() == wanted


@pytest.mark.parametrize("before", [0, 50])
def test_an_overlong_row_is_named_not_cut(before, tokenize_rows, tmp_path, monkeypatch):
    """Also in another process, and nothing is left."""
    in_parallel(monkeypatch)
    rows = [GOOD] * before + [{"text": GOOD["text"].replace("hello", "hello " * 100)}]
    message = rf"train.jsonl:{before + 1}: \d+ tokens, over train.sequence_length = 64"
    with pytest.raises(UserError, match=message):
        tokenize_rows(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_a_damaged_line_is_named(tokenize_rows):
    with pytest.raises(UserError, match="train.jsonl:2: not valid JSON"):
        tokenize_rows(json.dumps(GOOD).encode() + b'\n{"text": "\n')


def test_rows_without_an_answer_are_refused(tokenize_rows, tmp_path):
    with pytest.raises(UserError, match="0% of the tokens are supervised"):
        tokenize_rows([{"text": "<start_of_turn>user\nhello<end_of_turn>\n"}])
    assert not (tmp_path / "tokens").exists()


def test_no_rows_are_no_examples(tokenize_rows):
    assert list(tokenize_rows([])) == []


def test_an_answer_with_train_false_is_not_supervised(tokenize_rows, tokenizer):
    text = GOOD["text"] + GOOD["text"].replace("hi", "bye")
    user = {"role": "user", "content": "hello"}
    first = {"role": "assistant", "content": "hi", "train": False}
    second = {"role": "assistant", "content": "bye"}
    [example] = tokenize_rows([{"messages": [user, first, user, second], "text": text}])
    learnt = example.ids[example.supervised].tolist()
    assert learnt == [*tokenizer.encode("bye"), tokenizer.end_of_turn]


def test_the_supervised_fraction_counts_tokens(tokenizer_path, tokenizer):
    found = tokenize_lines([("a:1", json.dumps(GOOD).encode())], str(tokenizer_path), 64)
    answer = len(tokenizer.encode("hi")) + 1
    assert found.supervised_fraction() == answer / len(found[0].ids)
