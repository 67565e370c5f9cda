import numpy as np
import pytest

from exported import CACHE_LENGTH, PREFILL_LENGTHS
from gemma_finetune.runtime.tflite_model import TFLiteModel
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(float32):
    return TFLiteModel(float32, threads=1)


@pytest.fixture(scope="module")
def reference(model):
    """Tokens, and the logits after each, read one by one."""
    ids = np.random.default_rng(0).integers(4, model.vocabulary_size, 120).tolist()
    model.reset()
    return ids, np.stack([model.decode(token) for token in ids])


def test_knows_its_sizes(model, tokenizer):
    assert (model.prefill_lengths, model.cache_length) == (PREFILL_LENGTHS, CACHE_LENGTH)
    assert model.vocabulary_size == tokenizer.vocabulary_size


@pytest.mark.parametrize("read", [1, 7, 8, 9, 31, 32, 33, 50, 119])
def test_prefilled_or_decoded_the_logits_are_the_same(model, reference, read):
    ids, logits = reference
    model.reset()
    model.prefill(ids[:read])
    assert model.position == read
    np.testing.assert_allclose(model.decode(ids[read]), logits[read], atol=1e-4)


def test_what_a_longer_conversation_left_behind_is_not_seen(model, reference):
    ids, logits = reference
    model.reset()
    model.prefill(ids)
    model.rewind(20)
    model.prefill(ids[20:25])
    np.testing.assert_allclose(model.decode(ids[25]), logits[25], atol=1e-4)


def test_fills_the_cache_to_its_last_place_and_no_further(model, reference):
    ids, logits = reference
    model.reset()
    model.prefill((ids * CACHE_LENGTH)[: CACHE_LENGTH - 1])
    assert np.isfinite(model.decode(5)).all()
    with pytest.raises(ValueError, match="the cache is full"):
        model.decode(5)
    model.reset()
    np.testing.assert_allclose(model.decode(ids[0]), logits[0], atol=1e-4)


def test_rewind_goes_back_only(model):
    model.reset()
    with pytest.raises(ValueError, match="position=1 at 0"):
        model.rewind(1)


def test_opens_and_closes_without_a_word(float32, capfd):
    TFLiteModel(float32, threads=1).decode(2)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_not_a_model_is_named(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(UserError, match="x.tflite: not a TFLite model"):
        TFLiteModel(path, threads=1)
