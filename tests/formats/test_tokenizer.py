import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec

from gemma_finetune.formats.tokenizer import GemmaTokenizer, _word_boundary
from gemma_finetune.utils.errors import UserError

TEXT = (
    "<start_of_turn>user\nTurn on the light<end_of_turn>\n"
    "<start_of_turn>model\nDone.<end_of_turn>\n"
    "<start_of_turn>user\nAnd the music<end_of_turn>\n"
    "<start_of_turn>model\nPlaying 40 songs.<end_of_turn>\n"
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


@pytest.mark.parametrize("untrained, answers", [
    ([], ["Done.", "Playing 40 songs."]),
    ([0], ["Playing 40 songs."]),
    ([1], ["Done."]),
    ([0, 1], []),
])  # fmt: skip
def test_answers_that_are_not_trained_on_are_not_supervised(tokenizer, untrained, answers):
    ids, supervised = tokenizer.encode_conversation(TEXT, untrained)
    assert ids == tokenizer.encode_conversation(TEXT)[0]
    learnt = [token for token, flag in zip(ids, supervised, strict=True) if flag]
    expected = []
    for answer in answers:
        expected += [*tokenizer.encode(answer), tokenizer.end_of_turn]
    assert learnt == expected


def test_a_user_turn_is_never_supervised(tokenizer):
    _, supervised = tokenizer.encode_conversation("<start_of_turn>user\nmodel<end_of_turn>\n")
    assert not any(supervised)


def test_a_piece_that_is_not_utf_8_is_refused(tokenizer_path, tmp_path):
    """SentencePiece loads it, and fails at the first text."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tokenizer_path.read_bytes().replace("\u2581the".encode(), b"\xff\x96\x81the"))
    with pytest.raises(UserError, match="tokenizer.model: damaged, a piece is not UTF-8; run"):
        GemmaTokenizer(path)


def test_a_vocabulary_without_a_piece_for_unknown_text_is_refused(tokenizer_path, tmp_path):
    """SentencePiece loads it, and gives -1 for what it does not know: no id at all."""
    proto = ModelProto.FromString(tokenizer_path.read_bytes())
    for piece in proto.pieces:
        if piece.type == piece.UNKNOWN:
            piece.type = piece.NORMAL
    path = tmp_path / "tokenizer.model"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match="tokenizer.model: damaged, no piece for unknown text; run"):
        GemmaTokenizer(path)


def test_a_foreign_file_is_refused_by_name(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"not a model")
    with pytest.raises(UserError, match="tokenizer.model: not a SentencePiece model"):
        GemmaTokenizer(path)


# What could make word by word differ from the whole: runs of spaces, what joins with them, unknown
# characters.
FRAGMENTS = (
    " ", "  ", "   ", "\u2581", "\n", "\t", ":", ",", '": {"', ">", "> </", "</", "a", "light",
    "on", "e\u0301", "日", "\u3000", "\0", "🎵", "<end_of_turn>", "<start_of_turn>", "<eos>",
    "<unused7>", "word" * 20,
)  # fmt: skip
texts = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
).map("".join)


@pytest.fixture(params=["bytes for unknown characters", "<unk>"])
def gemma_like(request, tokenizer, tmp_path):
    """A vocabulary with pieces of Gemma's that the tests' own lacks: runs of spaces, and `>▁</`."""
    proto = ModelProto.FromString(tokenizer._processor.serialized_model_proto())
    if request.param == "<unk>":
        proto.trainer_spec.byte_fallback = False
        for piece in proto.pieces:
            if piece.type == piece.BYTE:
                piece.type = piece.UNUSED
    for piece in ("\u2581\u2581", "\u2581\u2581\u2581"):
        proto.pieces.add(piece=piece, type=ModelProto.SentencePiece.USER_DEFINED)
    for piece in ("</", "\u2581</", ">\u2581</"):
        proto.pieces.add(piece=piece, score=0)
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    return GemmaTokenizer(tmp_path / "tokenizer.model")


def test_word_by_word_gives_the_ids_of_the_whole(gemma_like, monkeypatch):
    monkeypatch.setattr("gemma_finetune.formats.tokenizer.MOST_WORDS", 50)
    processor = gemma_like._processor
    assert processor.EncodeAsPieces("a> </b") == ["a", ">\u2581</", "b"]

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(texts)
    def same(text):
        assert gemma_like.encode(text) == processor.EncodeAsIds(text)
        assert len(gemma_like._words) <= 50

    same()
    assert gemma_like._words


def test_text_is_cut_only_where_no_piece_reaches_across(tokenizer):
    def boundary(trainer=(), normalizer=()):
        proto = ModelProto.FromString(tokenizer._processor.serialized_model_proto())
        proto.trainer_spec.MergeFrom(TrainerSpec(**dict(trainer)))
        for name, value in normalizer:
            setattr(proto.normalizer_spec, name, value)
        return _word_boundary(proto.SerializeToString())

    assert boundary().split(' a b  c, d: "e f') == ["", "a", "b", ' c, d: "e', "f"]
    assert boundary(trainer=[("model_type", TrainerSpec.UNIGRAM)]) is None
    assert boundary(normalizer=[("add_dummy_prefix", True)]) is None
    assert boundary(normalizer=[("precompiled_charsmap", b"x")]) is None
