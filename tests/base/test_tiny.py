"""The tiny base: the same bytes from a seed, in Hugging Face layout, and able to learn."""

import json

import numpy as np
import pytest
import sentencepiece

from gemma_finetune.base import tiny
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.config import ModelConfig, TinyConfig
from gemma_finetune.models.loader import load_gemma_model

pytestmark = pytest.mark.slow


def config(steps=2, seed=0):
    tiny_config = TinyConfig(steps=steps, learning_rate=0.005)
    return ModelConfig(preset="tiny", watch="scripts", dtype="float32", seed=seed, tiny=tiny_config)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "base"
    tiny.build_tiny(directory, config())
    return directory


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(base, tmp_path):
    tiny.build_tiny(tmp_path / "again", config())
    tiny.build_tiny(tmp_path / "other", config(seed=1))
    names = sorted(path.name for path in base.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (base / name).read_bytes(), name
    weights = (base / "model.safetensors").read_bytes()
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != weights


def test_it_is_a_gemma_3_of_local_and_global_layers_that_loads(base):
    layout = json.loads((base / "config.json").read_text())
    assert layout["model_type"] == "gemma3_text"
    assert set(layout["layer_types"]) == {"sliding_attention", "full_attention"}
    backbone = load_gemma_model(base)
    assert backbone.count_params() < 4e6
    assert backbone.vocabulary_size == GemmaTokenizer(base / "tokenizer.model").vocabulary_size


def test_every_contracted_dimension_takes_blocks_of_32():
    """INT4 quantizes blocks of 32 weights along a matrix's input."""
    sizes = tiny.ARCHITECTURE
    heads = sizes["num_query_heads"] * sizes["head_dim"]
    assert all(size % 32 == 0 for size in (sizes["hidden_dim"], sizes["intermediate_dim"], heads))


def test_special_pieces_stand_where_gemma_has_them(base):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(base / "tokenizer.model"))
    assert [processor.id_to_piece(i) for i in range(4)] == ["<pad>", "<eos>", "<bos>", "<unk>"]
    for piece in ("<start_of_turn>", "<end_of_turn>", "\n"):
        assert processor.id_to_piece(processor.piece_to_id(piece)) == piece
    assert processor.encode("<start_of_turn>user\n")[0] == processor.piece_to_id("<start_of_turn>")


def test_pretraining_learns(base, tmp_path, capfd):
    tokenizer = GemmaTokenizer(base / "tokenizer.model")
    tiny.build_tiny(tmp_path / "longer", config(steps=30))
    assert "30/30" in capfd.readouterr().err  # progress is shown
    rows = tiny.corpus_rows(tokenizer, 8, seed=99)
    assert mean_loss(tmp_path / "longer", rows) < mean_loss(base, rows) - 1


def mean_loss(directory, rows):
    model = tiny.SupervisedModel(load_gemma_model(directory))
    model.compile()
    return model.evaluate(tiny.Batches(rows, 8), verbose=0, return_dict=True)["loss"]


def test_plain_text_is_learned_whole_and_requests_in_part(base):
    tokenizer = GemmaTokenizer(base / "tokenizer.model")
    rows = tiny.corpus_rows(tokenizer, 64, seed=0).make(range(64))
    supervised = rows.weights.sum() / (rows.segment_ids > 0).sum()
    assert rows.token_ids.shape == (64, tiny.ROW_LENGTH)
    assert 0.3 < supervised < 0.9
    assert rows.token_ids.max() < tokenizer.vocabulary_size
    assert np.all(rows.token_ids[:, 0] == tokenizer.bos)


def test_an_echo_is_said_again_token_by_token_and_every_token_gets_its_turn(base):
    tokenizer = GemmaTokenizer(base / "tokenizer.model")
    rng, seen = np.random.default_rng(0), set()
    for _ in range(5000):
        ids, answers = tiny.echo(tokenizer, rng)
        said = ids[answers]
        assert said[-1] == tokenizer.end_of_turn
        heard = ids[: np.flatnonzero(answers)[0]].tolist()
        assert str(said[:-1].tolist())[1:-1] in str(heard)
        seen |= set(said.tolist())
    controls = {tokenizer.pad, tokenizer.eos, tokenizer.bos, 3, tokenizer.start_of_turn}
    assert seen == set(range(tokenizer.vocabulary_size)) - controls
