import pytest

from gemma_finetune.models.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError

TEXT = (
    "<start_of_turn>user\nTurn on the light<end_of_turn>\n<start_of_turn>model\nDone.<end_of_turn>\n"
    "<start_of_turn>user\nAnd the music<end_of_turn>\n<start_of_turn>model\nPlaying 40 songs.<end_of_turn>\n"
)


def test_special_ids_come_from_the_vocabulary(tokenizer):
    assert (tokenizer.pad, tokenizer.eos, tokenizer.bos) == (0, 1, 2)
    assert tokenizer.encode("<end_of_turn>") == [tokenizer.end_of_turn]
    assert tokenizer.stop_ids == (tokenizer.eos, tokenizer.end_of_turn)


def test_text_goes_both_ways(tokenizer):
    text = "Turn it up:  naïve 日本 🎵 {“x”: 40}"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_conversation_has_one_bos_and_supervises_answers_with_their_end_of_turn(tokenizer):
    ids, supervised = tokenizer.encode_conversation(TEXT)
    assert ids[0] == tokenizer.bos and ids.count(tokenizer.bos) == 1
    assert ids == [tokenizer.bos] + tokenizer.encode(TEXT)
    learnt = [token for token, flag in zip(ids, supervised, strict=True) if flag]
    end = [tokenizer.end_of_turn]
    assert learnt == tokenizer.encode("Done.") + end + tokenizer.encode("Playing 40 songs.") + end


def test_a_user_turn_is_never_supervised(tokenizer):
    _, supervised = tokenizer.encode_conversation("<start_of_turn>user\nmodel<end_of_turn>\n")
    assert not any(supervised)


def test_a_foreign_file_is_refused_by_name(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"not a model")
    with pytest.raises(UserError, match="tokenizer.model: not a SentencePiece model"):
        GemmaTokenizer(path)
