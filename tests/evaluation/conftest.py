"""One export chain for all tests here, with its files where the stages put them.

A tiny base, an adapter that knows three conversations by heart, and every file made of them. The
files are shared and read only; `copy` gives a copy.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import parameters
from conversations import turns, with_system
from gemma_finetune.evaluation import dataset
from gemma_finetune.formats.chat_template import render
from lora_settings import lora_config

ROOT = Path(__file__).parents[2]
QUANTIZATIONS = ("int8", "int4")
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PREFILL_LENGTHS, CACHE_LENGTH = (16,), 128
LIGHT = ("Turn on the kitchen light.", '{"name": "set_light"}')
CHATS = (
    turns((*LIGHT, "And now turn it off.", '{"name": "off"}')),
    turns(("Play some quiet music.", '{"name": "play"}')),
    with_system("Be brief.", turns(("Is the door locked?", "Yes, it is."))),
)


@pytest.fixture(scope="session")
def rows() -> list[dict]:
    """The three conversations, as the stage `format` writes them."""
    return [formatted(f"chat-{i}", chat) for i, chat in enumerate(CHATS)]


def formatted(name: str, messages: list[dict]) -> dict:
    return {"id": name, "messages": messages, "text": render(messages)}


@pytest.fixture(scope="session")
def test_set(rows, tokenizer) -> dataset.TestSet:
    return dataset.build_test_set(rows, tokenizer, window=48)


@pytest.fixture(scope="session")
def chain(tmp_path_factory, base_dir, rows) -> Path:
    """A folder with params.yaml, the test set and all of models/, made by the stages' functions."""
    import merge
    from gemma_finetune.export.bundle import Parts, create_litertlm, create_mediapipe_task
    from gemma_finetune.export.converter import convert_to_tflite
    from gemma_finetune.export.quantizer import quantize
    from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE
    from gemma_finetune.formats.lora_file import base_digest, load_lora, save_lora

    root = tmp_path_factory.mktemp("chain")
    models = root / "models"
    for folder in (models / "tflite", models / "bundle", root / "data" / "formatted"):
        folder.mkdir(parents=True)
    _write_params(root / "params.yaml")
    (root / "data/formatted/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(base_dir, models / "base")
    save_lora(models / "lora.npz", *_train(base_dir, rows), base_digest(base_dir))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        merge.write_merged(models / "merged", load_lora(models / "lora.npz"))
    convert_to_tflite(
        models / "merged", models / "tflite/float32.tflite", PREFILL_LENGTHS, CACHE_LENGTH
    )
    for name in QUANTIZATIONS:
        path = models / f"tflite/{name}.tflite"
        quantize(models / "tflite/float32.tflite", path, ROOT / f"scripts/recipes/{name}.json")
        parts = Parts(
            tflite=path,
            tokenizer=models / "merged/tokenizer.model",
            chat_template=LITERTLM_TEMPLATE,
        )
        create_mediapipe_task(parts, models / f"bundle/{name}.task")
        create_litertlm(parts, models / f"bundle/{name}.litertlm")
        # Of the manifest, `measure` only hands these on to the card.
        (models / f"bundle/{name}.json").write_text('{"adapter": {}, "bundles": {}}')
    return root


def _write_params(path):
    params = parameters.resolved()
    params["export"]["quantizations"] = list(QUANTIZATIONS)
    params["evaluate"] |= {"task": "json", "max_tokens": 24}
    path.write_text(yaml.safe_dump(params))


def _train(base, rows):
    """(adapter weights, its LoRAConfig) after a few steps on the conversations."""
    from gemma_finetune.config import load_section
    from gemma_finetune.models.loader import load_gemma_model
    from gemma_finetune.training.config import TrainingConfig
    from gemma_finetune.training.data_pipeline import pack
    from gemma_finetune.training.examples import tokenize_lines
    from gemma_finetune.training.trainer import GemmaTrainer

    config = load_section("train", TrainingConfig, str(ROOT / "params.yaml"))
    config = replace(
        config, learning_rate=0.02, warmup_steps=2, batch_size=2, max_steps=60, epochs=60
    )
    lora = lora_config(rank=8, alpha=16, targets=TARGETS)
    trainer = GemmaTrainer(load_gemma_model(base), lora, config)
    lines = [("chats:1", json.dumps(row).encode()) for row in rows]
    examples = tokenize_lines(lines, str(base / "tokenizer.model"), 96)
    return trainer.fit(pack(examples, 96), None).weights, lora


@pytest.fixture(scope="session")
def metrics(chain) -> dict:
    """metrics/evaluate.json of the whole, healthy chain, by the stages themselves."""
    import evaluate
    import measure
    import measure_float

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(chain)
        measure_float.main()
        for name in QUANTIZATIONS:
            patch.setattr("sys.argv", ["measure.py", name])
            measure.main()
        evaluate.main()
    return json.loads((chain / "metrics/evaluate.json").read_text())


@pytest.fixture
def copy(chain, tmp_path, monkeypatch) -> Path:
    """A copy of the chain to plant a fault in; the test runs inside it."""
    shutil.copytree(chain, tmp_path / "chain")
    monkeypatch.chdir(tmp_path / "chain")
    return tmp_path / "chain"


def keras_logits(backbone, directory: Path, test_set):
    """The logits of a Keras model that was read from `directory`."""
    from gemma_finetune.evaluation.keras_rung import hidden_states
    from gemma_finetune.evaluation.reference import HiddenStates, load_embeddings

    states = list(hidden_states(backbone, test_set.sequences))
    return list(HiddenStates(states, load_embeddings(directory)).logits(test_set.sequences))


def merged_logits(merged: Path, test_set):
    """The logits that every other rung is compared with."""
    from gemma_finetune.models.loader import load_gemma_model

    return keras_logits(load_gemma_model(merged), merged, test_set)


@pytest.fixture(scope="session")
def reference(chain, test_set):
    """The merged model's logits."""
    return merged_logits(chain / "models/merged", test_set)


def exchange_pieces(path: Path, *pieces: str):
    """Makes a SentencePiece model another one of the same size: two pieces exchange their ids."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    one, other = (next(p for p in model.pieces if p.piece == piece) for piece in pieces)
    one.piece, other.piece = other.piece, one.piece
    path.write_bytes(model.SerializeToString())
