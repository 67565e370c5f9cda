"""Logits from kept hidden states, and one output head in memory for two models that share it."""

import numpy as np
from safetensors.numpy import save_file

from gemma_finetune.evaluation.dataset import Tokens
from gemma_finetune.evaluation.reference import EMBEDDINGS, HiddenStates, load_embeddings

V, D = 50, 8
RNG = np.random.default_rng(0)
HIDDEN = [RNG.standard_normal((3, D), np.float32), RNG.standard_normal((70, D), np.float32)]
SEQUENCES = [Tokens(np.zeros(90, np.int32), np.arange(len(hidden))) for hidden in HIDDEN]


def directory(folder, embeddings):
    folder.mkdir(exist_ok=True)
    save_file({EMBEDDINGS: embeddings}, folder / "model.safetensors")
    return folder


def test_logits_are_the_hidden_states_through_the_output_head(tmp_path):
    embeddings = RNG.standard_normal((V, D), np.float32)
    states = HiddenStates(HIDDEN, load_embeddings(directory(tmp_path, embeddings)))
    found = np.concatenate(list(states.logits(SEQUENCES)))
    np.testing.assert_allclose(found, np.concatenate(HIDDEN) @ embeddings.T, rtol=1e-5, atol=1e-5)


def test_a_head_that_two_models_share_is_in_memory_once(tmp_path):
    embeddings = RNG.standard_normal((V, D), np.float32)
    reference = HiddenStates(HIDDEN, load_embeddings(directory(tmp_path / "merged", embeddings)))
    other = [hidden + 1 for hidden in HIDDEN]

    shared = reference.beside(other, directory(tmp_path / "base", embeddings.copy()))
    assert shared.embeddings is reference.embeddings
    assert shared.hidden is other


def test_a_head_of_its_own_stays(tmp_path):
    embeddings = RNG.standard_normal((V, D), np.float32)
    reference = HiddenStates(HIDDEN, load_embeddings(directory(tmp_path / "merged", embeddings)))
    changed = embeddings.copy()
    changed[-1, -1] += 1e-6

    own = reference.beside(HIDDEN, directory(tmp_path / "base", changed))
    np.testing.assert_array_equal(own.embeddings, changed)
