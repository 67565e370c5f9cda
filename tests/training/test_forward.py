import jax
import numpy as np
import pytest

from gemma_finetune.models.loader import keras_hub, load_gemma_model
from gemma_finetune.training import attention, forward
from gemma_finetune.training.data_pipeline import pack
from gemma_finetune.training.examples import Example
from gemma_finetune.training.forward import check_architecture, hidden_states
from gemma_finetune.training.model import SupervisedModel
from gemma_finetune.utils.errors import UserError
from training_rows import every_row

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)


def example(length):
    return Example(RNG.integers(6, 200, length).astype("int32"), np.arange(length) > length // 2)


def test_hidden_states_are_the_backbones_own(base_dir):
    backbone = load_gemma_model(base_dir)
    ids = RNG.integers(4, 200, (2, 40)).astype("int32")
    ones = np.ones_like(ids)
    ours = hidden_states(backbone, ids, ones)
    np.testing.assert_allclose(ours, backbone({"token_ids": ids, "padding_mask": ones}), atol=1e-5)


def test_a_packed_conversation_reads_as_if_alone(base_dir):
    backbone = load_gemma_model(base_dir)
    packed = every_row(pack([example(20), example(28), example(12)], 64))
    states = np.asarray(hidden_states(backbone, packed.token_ids, packed.segment_ids))
    for row, segments in enumerate(packed.segment_ids):
        for segment in range(1, segments.max() + 1):
            where = segments == segment
            ids = packed.token_ids[row][where][None]
            alone = hidden_states(backbone, ids, np.ones_like(ids))[0]
            np.testing.assert_allclose(states[row][where], alone, atol=2e-4)


def test_long_rows_read_as_the_backbone_reads_them(base_dir, monkeypatch):
    """Global and sliding layers, over several blocks."""
    monkeypatch.setattr(forward, "BLOCK", 16)
    monkeypatch.setattr(attention, "BLOCK", 16)
    backbone = load_gemma_model(base_dir)
    ids = RNG.integers(4, 200, (2, 90)).astype("int32")
    ones = np.ones_like(ids)
    ours = jax.jit(lambda ids: hidden_states(backbone, ids, ones))(ids)
    wanted = backbone({"token_ids": ids, "padding_mask": ones})
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_a_row_of_2048_tokens_reads_as_the_backbone_reads_it(base_dir):
    backbone = load_gemma_model(base_dir)
    ids = RNG.integers(4, 200, (1, 2048)).astype("int32")
    ones = np.ones_like(ids)
    ours = jax.jit(lambda ids: hidden_states(backbone, ids, ones))(ids)
    wanted = backbone({"token_ids": ids, "padding_mask": ones})
    np.testing.assert_allclose(ours, wanted, atol=1e-4)


def make_backbone(**settings):
    """A Gemma 3 of one layer, but for these settings."""
    published = dict(
        vocabulary_size=64,
        image_size=16,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=32,
        intermediate_dim=16,
        head_dim=8,
        use_post_ffw_norm=True,
        use_post_attention_norm=True,
        dtype="float32",
    )
    return keras_hub.models.Gemma3Backbone(**published | settings)


EMBEDDING = {"is_embedding_model": True, "pooling_intermediate_dim": 8, "embedding_dim": 8}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"attention_logit_soft_cap": 50.0}, "has attention logit soft capping"),
        ({"final_logit_soft_cap": 30.0}, "has final logit soft capping"),
        ({"use_bidirectional_attention": True}, "has bidirectional attention"),
        (EMBEDDING, "is an embedding model"),
        ({"dropout": 0.1}, "has dropout"),
        ({"use_query_key_norm": False}, "has no norm of queries and keys"),
        ({"use_post_attention_norm": False}, "has no norm after attention"),
        ({"use_post_ffw_norm": False}, "has no norm after the feed-forward"),
        ({"query_head_dim_normalize": False}, r"does not scale queries by sqrt\(head_dim\)"),
    ],
)
def test_a_base_that_training_does_not_know_is_refused_by_name(setting, says):
    message = f"^model.preset: the base {says}, which training does not know"
    with pytest.raises(UserError, match=message):
        SupervisedModel(make_backbone(**setting))


def test_an_image_tower_is_refused_and_differences_are_listed():
    tower = keras_hub.models.Gemma3VisionEncoder(
        image_size=16,
        patch_size=4,
        num_heads=2,
        hidden_dim=8,
        num_layers=1,
        intermediate_dim=8,
        output_dim=32,
        pool_size=2,
        dtype="float32",
    )
    with pytest.raises(UserError, match="the base has an image tower, has dropout, which training"):
        check_architecture(make_backbone(vision_encoder=tower, dropout=0.1))


def test_a_gemma_3_as_published_is_taken(base_dir):
    check_architecture(make_backbone())
    check_architecture(load_gemma_model(base_dir))
