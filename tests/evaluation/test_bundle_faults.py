"""Faults planted in bundles: found by what the files hold, and by what LiteRT-LM makes of them."""

from dataclasses import replace

import pytest

from gemma_finetune.config import load_section
from gemma_finetune.evaluation import bundle_rung, identity
from gemma_finetune.evaluation.measure import foretold_stops, measure
from gemma_finetune.export import bundle
from gemma_finetune.figures.liveness import Answer, faults
from gemma_finetune.formats.chat_template import LITERTLM_TEMPLATE
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.gate import checks, failed_hops, failure, verdicts
from gemma_finetune.utils.errors import UserError

from .conftest import QUANTIZATIONS, ROOT, exchange_pieces

pytestmark = pytest.mark.slow

INT8 = ("int8",)


def check_bundles(root, names=INT8):
    models = root / "models"
    identity.check_bundles(models / "tflite", models / "bundle", models / "merged", names)


def parts_of(root):
    models = root / "models"
    tflite, tokenizer = models / "tflite/int8.tflite", models / "merged/tokenizer.model"
    return bundle.Parts(tflite=tflite, tokenizer=tokenizer, chat_template=LITERTLM_TEMPLATE)


def write_task(root, **changes):
    """An int8.task whose contents are not what they should be; the bundler itself minds nothing."""
    parts, path = parts_of(root), root / "models/bundle/int8.task"
    path.unlink()
    bundle._mediapipe_bundle(parts, replace(bundle.expected_contents(parts), **changes), path)


def write_litertlm(root, edit, tokenizer):
    """An int8.litertlm with its metadata message changed by `edit(message)`."""
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    parts = parts_of(root)
    contents = bundle.expected_contents(parts)
    message = llm_metadata_pb2.LlmMetadata.FromString(bundle._llm_metadata(contents, tokenizer))
    edit(message)
    (root / "metadata.pb").write_bytes(message.SerializeToString())
    bundle._litertlm_bundle(
        parts, contents, root / "metadata.pb", root / "models/bundle/int8.litertlm"
    )


def answers(root, kind, test_set, tokenizer):
    path = root / f"models/bundle/int8.{kind}"
    return list(bundle_rung.answers(path, test_set.turns, tokenizer, max_tokens=24))


def set_template(template):
    return lambda message: setattr(message, "jinja_prompt_template", template)


def test_healthy_bundles_pass(chain):
    check_bundles(chain, QUANTIZATIONS)


@pytest.mark.parametrize("kind", ["task", "litertlm"])
def test_swapped_bundles_are_caught(copy, kind):
    one, other = (copy / f"models/bundle/{name}.{kind}" for name in QUANTIZATIONS)
    one.rename(copy / "aside")
    other.rename(one)
    (copy / "aside").rename(other)
    expected = f"int8.{kind}: hop bundle@int8: it holds the model int4, not int8"
    with pytest.raises(UserError, match=expected):
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
    with pytest.raises(UserError, match=f"hop bundle@int8: .*int8.{kind}: .* a damaged one"):
        check_bundles(copy)


SECOND_BOS = {
    "user": ("<bos><start_of_turn>user\n", "<end_of_turn>\n"),
    "model": ("<start_of_turn>model\n", "<end_of_turn>\n"),
}
NO_NEWLINE_AFTER_ROLE = {
    "user": ("<start_of_turn>user", "<end_of_turn>\n"),
    "model": ("<start_of_turn>model", "<end_of_turn>\n"),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_token": "<eos>"}, "its start token is '<eos>', not <bos>"),
        ({"start_token": ""}, "its start token is '', not <bos>"),
        ({"stop_tokens": ("<eos>",)}, "its stop tokens are"),
        ({"affixes": SECOND_BOS}, "its turns are written"),
        ({"affixes": NO_NEWLINE_AFTER_ROLE}, "its turns are written"),
    ],
    ids=["no-bos-eos-instead", "no-bos", "wrong-stop-token", "second-bos", "no-newline-after-role"],
)
def test_a_task_with_other_tokens_or_turns_is_caught(copy, changes, message):
    write_task(copy, **changes)
    with pytest.raises(UserError, match=f"int8.task: hop bundle@int8: {message}"):
        check_bundles(copy)


@pytest.mark.parametrize(
    "affixes",
    [SECOND_BOS, NO_NEWLINE_AFTER_ROLE],
    ids=["second-bos", "no-newline-after-role"],
)
def test_the_runtime_would_have_shown_a_tasks_wrong_turns_too(copy, test_set, tokenizer, affixes):
    write_task(copy, affixes=affixes)
    expected = "int8.task: hop bundle: it has another chat template than training had"
    with pytest.raises(UserError, match=expected):
        answers(copy, "task", test_set, tokenizer)


@pytest.mark.parametrize(
    "template",
    ["<bos>" + LITERTLM_TEMPLATE, LITERTLM_TEMPLATE.replace("role + '\\n'", "role")],
    ids=["second-bos", "no-newline-after-role"],
)
def test_a_litertlm_with_another_template_is_caught(copy, test_set, tokenizer, template):
    assert template != LITERTLM_TEMPLATE
    write_litertlm(copy, set_template(template), tokenizer)
    expected = "int8.litertlm: hop bundle: it has another chat template than training had"
    with pytest.raises(UserError, match=expected):
        answers(copy, "litertlm", test_set, tokenizer)


def test_a_litertlm_that_loses_the_line_break_behind_an_answer_is_caught(copy, test_set, tokenizer):
    """A template that ends turns with it, as most do, is right in first turns and transformers."""
    template = LITERTLM_TEMPLATE.replace("{%- if not loop.first -%}{{ '\\n' }}{%- endif -%}", "")
    template = template.replace("'\\n<start_of_turn>model", "'<start_of_turn>model")
    template = template.replace("<end_of_turn>'", "<end_of_turn>\\n'")
    write_litertlm(copy, set_template(template), tokenizer)
    assert len(answers(copy, "litertlm", test_set, tokenizer)) == len(test_set.turns)
    path = copy / "models/bundle/int8.litertlm"
    expected = "int8.litertlm: hop bundle: it opens a later turn differently from training"
    with pytest.raises(UserError, match=expected):
        list(bundle_rung.follow_ups(path, test_set.conversations, 24))


def clear(field):
    return lambda metadata: metadata.ClearField(field)


def stop_at_pad(metadata):
    metadata.stop_tokens[1].token_ids.ids[0] = 0


def start_with_eos(metadata):
    metadata.start_token.token_ids.ids[0] = 1


@pytest.mark.parametrize(
    ("edit", "token"),
    [
        (clear("start_token"), "start token"),
        (start_with_eos, "start token"),
        (clear("stop_tokens"), "stop tokens"),
        (stop_at_pad, "stop tokens"),
    ],
    ids=["no-bos", "eos-for-bos", "no-stop", "wrong-stop-token"],
)
def test_a_litertlm_with_other_tokens_is_caught(copy, test_set, tokenizer, edit, token):
    write_litertlm(copy, edit, tokenizer)
    with pytest.raises(UserError, match=f"int8.litertlm: hop bundle@int8: its {token}"):
        check_bundles(copy)
    with pytest.raises(UserError, match=f"int8.litertlm: hop bundle: {token}"):
        answers(copy, "litertlm", test_set, tokenizer)


def test_a_wrong_stop_token_alone_shows_in_the_answers(
    copy, metrics, test_set, tokenizer, reference, monkeypatch
):
    """Even if nobody looks at the metadata: the answers never end, so this bundle fails."""
    write_task(copy, stop_tokens=("<pad>",))
    monkeypatch.setattr(bundle_rung, "check_tokens", lambda *_: None)
    stops = foretold_stops(test_set, measure(test_set, reference, reference), tokenizer.stop_ids)
    for answer, turn, foretold in zip(
        answers(copy, "task", test_set, tokenizer), test_set.turns, stops, strict=True
    ):
        assert foretold == turn.length and not answer.stopped
        endless = Answer(answer.text, answer.tokens, False, True, turn.length, foretold)
        assert "unstopped" in faults(endless)

    config = load_section("check", CheckConfig, str(ROOT / "params.yaml"))
    figures = {"faulty_answers": 1.0, "faulty_answers_low": 0.3, "runtime_agreement": 0.0}
    broken = metrics | {"task_int8": metrics["task_int8"] | figures}
    judged = checks(broken, config, QUANTIZATIONS)
    content = verdicts(judged, broken, QUANTIZATIONS)
    assert failure(judged).startswith("the export chain breaks at hop bundle@int8")
    assert failed_hops(content, "int8.task") == ["bundle@int8"]
    assert failed_hops(content, "int8.litertlm") == []


@pytest.mark.parametrize("kind", ["task", "litertlm"])
def test_another_tokenizer_is_caught_by_its_bytes_and_by_what_it_feeds_the_model(
    copy, test_set, tokenizer, kind
):
    path = copy / "models/merged/tokenizer.model"
    right = path.read_bytes()
    exchange_pieces(path, "t", "k")
    if kind == "task":
        write_task(copy)
    else:
        write_litertlm(copy, lambda metadata: None, tokenizer)
    path.write_bytes(right)

    expected = f"int8.{kind}: hop bundle@int8: its tokenizer is not the merged model's"
    with pytest.raises(UserError, match=expected):
        check_bundles(copy)
    expected = f"int8.{kind}: hop bundle: it holds another tokenizer than training had"
    with pytest.raises(UserError, match=expected):
        answers(copy, kind, test_set, tokenizer)
