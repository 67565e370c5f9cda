"""Planted faults, one at a time, in an otherwise healthy export chain: each must be caught, and by the right hop."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gemma_finetune.config import load_section
from gemma_finetune.evaluation import bundle_rung, identity
from gemma_finetune.evaluation.config import CheckConfig
from gemma_finetune.evaluation.gate import checks, failure
from gemma_finetune.evaluation.measure import Spoken, exact_by_logits, exact_match, keep, measure, runtime
from gemma_finetune.evaluation.tflite_rung import tflite_logits
from gemma_finetune.export import bundle
from gemma_finetune.export.chat_template import CHAT_TEMPLATE, LITERTLM_TEMPLATE
from gemma_finetune.utils.cli import UserError

from .conftest import CACHE_LENGTH, QUANTIZATIONS, ROOT

INT8 = ("int8",)


def keras_reference(merged, test_set):
    from gemma_finetune.evaluation.keras_rung import keras_logits
    from gemma_finetune.models.loader import load_gemma_model

    rows = sum(len(s.positions) for s in test_set.sequences)
    return keep(keras_logits(load_gemma_model(merged), test_set.sequences), rows)


@pytest.fixture(scope="module")
def reference(chain, test_set):
    """The merged model's logits."""
    return keras_reference(chain / "models/merged", test_set)


@pytest.fixture(scope="module")
def lora_logits(chain, test_set):
    from gemma_finetune.evaluation.keras_rung import base_with_adapter, keras_logits

    model = base_with_adapter(chain / "models/base", chain / "models/lora.npz")
    return list(keras_logits(model, test_set.sequences))


@pytest.fixture
def broken_hop(metrics, test_set, tokenizer):
    """The hop and message of the gate when `rung` has these logits: all other rungs as in the healthy chain."""

    def judge(rung, logits, reference, **thresholds):
        outcome = measure(test_set, logits, reference)
        merged = measure(test_set, reference, reference)
        exact = [exact_by_logits(test_set, o, tokenizer.stop_ids) for o in (outcome, merged)]
        figures = metrics[rung] | outcome.figures | exact_match(test_set, *exact)
        config = replace(load_section("check", CheckConfig, str(ROOT / "params.yaml")), **thresholds)
        message = failure(checks(metrics | {rung: figures}, config, QUANTIZATIONS))
        return message and message.split("at hop ")[1].split(":")[0]

    return judge


def edit_tensors(merged: Path, change):
    """Rewrites models/merged/model.safetensors by `change(tensors)`."""
    tensors = load_file(merged / "model.safetensors")
    save_file(tensors | change(tensors), merged / "model.safetensors", metadata={"format": "pt"})


def edit_config(merged: Path, **changes):
    path = merged / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# -- merge: the merged model is not the base with its adapter on --


def lora_dropped(base, merged):
    return base


def alpha_ignored(base, merged):
    return {name: base[name] + (merged[name] - base[name]) / 2 for name in merged}  # alpha / rank is 2


def kernel_transposed(base, merged):
    name = "model.layers.2.mlp.gate_proj.weight"
    return {name: np.ascontiguousarray(merged[name].T).reshape(merged[name].shape)}


@pytest.mark.parametrize("fault", [lora_dropped, alpha_ignored, kernel_transposed])
def test_a_wrong_merge_is_caught_at_merge(copy, test_set, lora_logits, broken_hop, fault):
    base = load_file(copy / "models/base/model.safetensors")
    edit_tensors(copy / "models/merged", lambda merged: fault(base, merged))
    assert broken_hop("lora", lora_logits, keras_reference(copy / "models/merged", test_set)) == "merge"


def test_a_sliding_window_off_by_one_in_the_merged_config_is_caught_at_merge(copy, test_set, lora_logits, broken_hop):
    edit_config(copy / "models/merged", sliding_window=17)
    assert broken_hop("lora", lora_logits, keras_reference(copy / "models/merged", test_set)) == "merge"


# -- transformers: the directory says something else than the weights were trained with --


def rope(theta):
    return {"rope_type": "linear", "factor": 1.0, "rope_theta": theta}


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"sliding_attention": rope(1e6), "full_attention": rope(1e6)}},
        {"rope_parameters": {"sliding_attention": rope(1e4), "full_attention": rope(1e4)}},
        {"sliding_window": 15},
        {"query_pre_attn_scalar": 64},
        {"layer_types": ["full_attention"] * 6},
    ],
    ids=["rope-of-local-layers", "rope-of-global-layers", "window-off-by-one", "query-scale", "no-local-layers"],
)
def test_a_wrong_config_is_caught_at_transformers(copy, test_set, reference, broken_hop, changes):
    from gemma_finetune.evaluation.torch_rung import torch_logits

    edit_config(copy / "models/merged", **changes)
    logits = torch_logits(copy / "models/merged", test_set.sequences)
    assert broken_hop("transformers", logits, reference) == "transformers"


# -- tflite: converted otherwise than transformers computes --


def test_a_kernel_transposed_in_the_conversion_is_caught_at_tflite(copy, test_set, reference, broken_hop):
    right = load_file(copy / "models/merged/model.safetensors")["model.layers.2.mlp.gate_proj.weight"]
    wrong = np.ascontiguousarray(right.T)
    content = (copy / "models/tflite/float32.tflite").read_bytes()
    assert content.count(right.tobytes()) == 1
    (copy / "wrong.tflite").write_bytes(content.replace(right.tobytes(), wrong.tobytes()))
    logits = tflite_logits(copy / "wrong.tflite", test_set.sequences)
    assert broken_hop("tflite_float32", logits, reference) == "tflite"


@pytest.mark.parametrize("name", ["float32", *QUANTIZATIONS])
def test_a_whole_tflite_passes(chain, name):
    identity.check_whole(chain / f"models/tflite/{name}.tflite", f"quantize@{name}")


@pytest.mark.parametrize("part", [0.999, 0.7, 0.3, 0.01])
def test_a_truncated_tflite_is_named(copy, part):
    path = copy / "models/tflite/int8.tflite"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UserError, match="hop quantize@int8: .*int8.tflite: .* a damaged one"):
        identity.check_whole(path, "quantize@int8")


# -- quantize --


def test_channelwise_int4_is_caught_at_quantize(chain, tmp_path, metrics, test_set, reference, broken_hop):
    """The threshold stands a third above what blocks of 32 cost here: so small a model loses little either way."""
    from gemma_finetune.export.quantizer import quantize

    recipe = json.loads((ROOT / "scripts/recipes/int4.json").read_text())
    for operation in recipe:
        operation["op_config"]["weight_tensor_config"]["granularity"] = "CHANNELWISE"
    (tmp_path / "channelwise.json").write_text(json.dumps(recipe))
    quantize(chain / "models/tflite/float32.tflite", tmp_path / "wrong.tflite", tmp_path / "channelwise.json")
    logits = tflite_logits(tmp_path / "wrong.tflite", test_set.sequences)
    max_kl = {"int8": 0.02, "int4": 1.33 * metrics["tflite_int4"]["kl"]}
    assert broken_hop("tflite_int4", logits, reference, max_kl=max_kl) == "quantize@int4"


# -- bundle: another model, another tokenizer, other tokens, another template --


def check_bundles(root, names=INT8):
    models = root / "models"
    identity.check_bundles(models / "tflite", models / "bundle", models / "merged", names)


def write_task(root, **changes):
    """An int8.task whose contents are not what they should be; the bundler itself minds nothing."""
    models = root / "models"
    parts = bundle.Parts(
        tflite=models / "tflite/int8.tflite",
        tokenizer=models / "merged/tokenizer.model",
        chat_template=LITERTLM_TEMPLATE,
    )
    contents = replace(bundle.expected_contents(parts), **changes)
    (models / "bundle/int8.task").unlink()
    bundle._mediapipe_bundle(parts, contents, models / "bundle/int8.task")


def write_litertlm(root, edit, tokenizer):
    """An int8.litertlm with its metadata message changed by `edit(message)`."""
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    models = root / "models"
    parts = bundle.Parts(
        tflite=models / "tflite/int8.tflite",
        tokenizer=models / "merged/tokenizer.model",
        chat_template=LITERTLM_TEMPLATE,
    )
    contents = bundle.expected_contents(parts)
    message = llm_metadata_pb2.LlmMetadata.FromString(bundle._llm_metadata(contents, tokenizer))
    edit(message)
    (root / "metadata.pb").write_bytes(message.SerializeToString())
    bundle._litertlm_bundle(parts, contents, root / "metadata.pb", models / "bundle/int8.litertlm")


def answers(root, kind, test_set, tokenizer):
    return list(bundle_rung.answers(root / f"models/bundle/int8.{kind}", test_set.turns, tokenizer, max_tokens=24))


def test_healthy_bundles_pass(chain):
    check_bundles(chain, QUANTIZATIONS)


@pytest.mark.parametrize("kind", ["task", "litertlm"])
def test_swapped_bundles_are_caught(copy, kind):
    one, other = (copy / f"models/bundle/{name}.{kind}" for name in QUANTIZATIONS)
    one.rename(copy / "aside"), other.rename(one), (copy / "aside").rename(other)
    with pytest.raises(UserError, match=rf"int8.{kind}: hop bundle@int8: it holds the model int4, not int8"):
        check_bundles(copy, QUANTIZATIONS)


def test_a_bundle_of_an_older_run_is_caught(copy):
    path = copy / "models/tflite/int8.tflite"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="hop bundle@int8: it holds the model of another run"):
        check_bundles(copy)


@pytest.mark.parametrize("kind", ["task", "litertlm"])
def test_a_truncated_bundle_is_named(copy, kind):
    path = copy / f"models/bundle/int8.{kind}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match=f"models/bundle/int8.{kind}: .*(damaged|cut short)"):
        check_bundles(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_token": "<eos>"}, "its start token is '<eos>', not <bos>"),
        ({"start_token": ""}, "its start token is '', not <bos>"),
        ({"stop_tokens": ("<eos>",)}, "its stop tokens are"),
        ({"affixes": {"user": ("<bos><start_of_turn>user\n", "<end_of_turn>\n"),
                      "model": ("<start_of_turn>model\n", "<end_of_turn>\n")}}, "its turns are written"),
        ({"affixes": {"user": ("<start_of_turn>user", "<end_of_turn>\n"),
                      "model": ("<start_of_turn>model", "<end_of_turn>\n")}}, "its turns are written"),
    ],
    ids=["no-bos-eos-instead", "no-bos", "wrong-stop-token", "second-bos", "no-newline-after-role"],
)  # fmt: skip
def test_a_task_with_other_tokens_or_turns_is_caught(copy, changes, message):
    write_task(copy, **changes)
    with pytest.raises(UserError, match=f"int8.task: hop bundle@int8: {message}"):
        check_bundles(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"affixes": {"user": ("<bos><start_of_turn>user\n", "<end_of_turn>\n"),
                     "model": ("<start_of_turn>model\n", "<end_of_turn>\n")}},
        {"affixes": {"user": ("<start_of_turn>user", "<end_of_turn>\n"),
                     "model": ("<start_of_turn>model", "<end_of_turn>\n")}},
    ],
    ids=["second-bos", "no-newline-after-role"],
)  # fmt: skip
def test_the_runtime_would_have_shown_a_tasks_wrong_turns_too(copy, test_set, tokenizer, changes):
    write_task(copy, **changes)
    with pytest.raises(UserError, match="int8.task: hop bundle: it has another chat template than training had"):
        answers(copy, "task", test_set, tokenizer)


@pytest.mark.parametrize(
    "template",
    ["<bos>" + LITERTLM_TEMPLATE, LITERTLM_TEMPLATE.replace("role + '\\n'", "role")],
    ids=["second-bos", "no-newline-after-role"],
)
def test_a_litertlm_with_another_template_is_caught(copy, test_set, tokenizer, template):
    assert template != LITERTLM_TEMPLATE
    write_litertlm(copy, lambda message: setattr(message, "jinja_prompt_template", template), tokenizer)
    with pytest.raises(UserError, match="int8.litertlm: hop bundle: it has another chat template than training had"):
        answers(copy, "litertlm", test_set, tokenizer)


def test_a_litertlm_that_loses_the_line_break_behind_an_answer_is_caught(copy, test_set, tokenizer):
    """A template that ends turns with it, as most do: right in every first turn, and in all of transformers."""
    template = LITERTLM_TEMPLATE.replace("{%- if not loop.first -%}{{ '\\n' }}{%- endif -%}", "")
    template = template.replace("'\\n<start_of_turn>model", "'<start_of_turn>model")
    template = template.replace("<end_of_turn>'", "<end_of_turn>\\n'")
    write_litertlm(copy, lambda message: setattr(message, "jinja_prompt_template", template), tokenizer)
    assert len(answers(copy, "litertlm", test_set, tokenizer)) == len(test_set.turns)
    with pytest.raises(UserError, match="int8.litertlm: hop bundle: it opens a later turn otherwise than training"):
        list(bundle_rung.follow_ups(copy / "models/bundle/int8.litertlm", test_set.conversations, 24))


@pytest.mark.parametrize(
    ("field", "message"), [("start_token", "start token"), ("stop_tokens", "stop tokens")], ids=["no-bos", "no-stop"]
)
def test_a_litertlm_without_its_tokens_is_caught(copy, test_set, tokenizer, field, message):
    write_litertlm(copy, lambda metadata: metadata.ClearField(field), tokenizer)
    with pytest.raises(UserError, match=f"hop bundle@int8: its {message}"):
        check_bundles(copy)
    with pytest.raises(UserError, match=f"hop bundle: {message}"):
        answers(copy, "litertlm", test_set, tokenizer)


def test_a_wrong_stop_token_alone_shows_in_the_answers(copy, metrics, test_set, tokenizer, reference, monkeypatch):
    """Were the metadata not looked at: the answers don't end, and the gate fails the bundle."""
    write_task(copy, stop_tokens=("<pad>",))
    monkeypatch.setattr(bundle_rung, "check_tokens", lambda *_: None)
    found = answers(copy, "task", test_set, tokenizer)
    figures = runtime(test_set, Spoken(found, []), measure(test_set, reference, reference), tokenizer)
    assert figures["faults"]["unstopped"] == len(test_set.turns)
    config = load_section("check", CheckConfig, str(ROOT / "params.yaml"))
    message = failure(checks(metrics | {"task_int8": metrics["task_int8"] | figures}, config, QUANTIZATIONS))
    assert message.startswith("the export chain breaks at hop bundle@int8")


# -- the tokenizer of another model, and what transformers makes of the template --


def exchange_pieces(path: Path, *pieces: str):
    """Makes a SentencePiece model another one of the same size: two pieces exchange their ids."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    one, other = (next(p for p in model.pieces if p.piece == piece) for piece in pieces)
    one.piece, other.piece = other.piece, one.piece
    path.write_bytes(model.SerializeToString())


def test_a_bundle_with_another_tokenizer_is_caught_by_its_bytes_and_by_what_it_feeds_the_model(
    copy, test_set, tokenizer
):
    path = copy / "models/merged/tokenizer.model"
    right = path.read_bytes()
    exchange_pieces(path, "t", "k")
    write_task(copy)
    path.write_bytes(right)
    with pytest.raises(UserError, match="hop bundle@int8: its tokenizer is not the merged model's"):
        check_bundles(copy)
    with pytest.raises(UserError, match="hop bundle: it holds another tokenizer than training had"):
        answers(copy, "task", test_set, tokenizer)


def check_tokenizers(root, test_set, tokenizer):
    identity.check_tokenizers(root / "models/base", root / "models/merged", test_set.turns, tokenizer)


def test_a_merged_model_with_another_tokenizer_is_caught_at_merge(copy, test_set, tokenizer):
    exchange_pieces(copy / "models/merged/tokenizer.model", "t", "k")
    with pytest.raises(UserError, match="hop merge: .*/tokenizer.model is not"):
        check_tokenizers(copy, test_set, tokenizer)


def test_the_healthy_template_passes(chain, test_set, tokenizer):
    check_tokenizers(chain, test_set, tokenizer)


@pytest.mark.parametrize(
    "template",
    [
        LITERTLM_TEMPLATE,
        "{{ bos_token }}" + CHAT_TEMPLATE,
        CHAT_TEMPLATE.replace("\\n", ""),
    ],
    ids=["no-bos", "second-bos", "no-newlines"],
)
def test_another_template_in_the_merged_model_is_caught_at_transformers(copy, test_set, tokenizer, template):
    (copy / "models/merged/chat_template.jinja").write_text(template)
    with pytest.raises(UserError, match="hop transformers: test row .*: transformers makes other token ids"):
        check_tokenizers(copy, test_set, tokenizer)


# -- what can't be measured at all --


def test_a_cache_too_short_for_the_test_set_is_an_error_that_says_how_long(chain, test_set):
    from gemma_finetune.evaluation import dataset

    long = [dataset.probe(test_set.conversations, CACHE_LENGTH + 1)]
    with pytest.raises(UserError, match=f"raise export.cache_length to {CACHE_LENGTH + 1} or more"):
        identity.check_cache(chain / "models/tflite/float32.tflite", long)
