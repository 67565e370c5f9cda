"""Function calls through every stage: rows in, a bundle out that answers with structured calls.

The base is a tiny FunctionGemma that has read all rows, so that its figures are high and can be
compared: what a stage breaks would show.
"""

import json

import litert_lm
import pytest

import function_model as known
from clones import clone_working_tree, git, run
from faults import dag
from gemma_finetune.runtime.engine import function_options, open_engine

ROOMS = "attic cellar kitchen porch garage office studio bath den loft barn shed hall room".split()
LEVELS = range(10, 100, 10)
STEPS = 220  # of the base, which leaves the adapter something to learn


def light(room, level):
    return [
        known.SYSTEM,
        known.user(f"{room} light {level}"),
        known.assistant(None, ("set_light", {"room": room, "level": level})),
        known.tool(set_light={"ok": True}),
        known.assistant(f"The {room} is lit."),
    ]


def words(room, question):
    return [
        known.SYSTEM,
        known.user(f"{question} {room}?"),
        known.assistant(f"I know the {room}."),
    ]


CONVERSATIONS = [light(room, level) for room in ROOMS for level in LEVELS]
CONVERSATIONS += [words(room, text) for room in ROOMS for text in ("Is there a", "Who is in the")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    vocabulary = known.train_vocabulary(folder / "tokenizer", CONVERSATIONS)
    known.write_model(folder / "base", vocabulary, STEPS, CONVERSATIONS)
    clone = clone_working_tree(folder / "clone")
    for file in (clone / "data/raw").iterdir():
        file.unlink()
    rows = [json.dumps({"messages": row, "tools": known.APP_TOOLS}) for row in CONVERSATIONS]
    (clone / "data/raw/rows.jsonl").write_text("\n".join(rows))
    changes = {"model.preset": str(folder / "base"), "model.watch": str(folder / "base")}
    dag.set_params(clone, changes | {"train.max_steps": 150, "train.learning_rate": 0.002})
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "my calls")
    run(clone, "dvc", "repro", "--force", seconds=1800)
    return clone


def test_the_figures_of_every_bundle_are_those_of_the_merged_model(clone, observed):
    rungs = json.loads((clone / "metrics/evaluate.json").read_text())
    assert rungs["test_set"]["task"] == "calls"
    names = (
        "call_parsed",
        "call_name",
        "call_arguments",
        "call_exact",
        "false_call",
        "missed_call",
    )
    merged = {name: rungs["merged"][name] for name in names}
    observed("functions", "all stages", f"{len(CONVERSATIONS)} rows", f"merged: {merged}")
    assert merged["call_parsed"] == 1 and merged["call_exact"] > 0.5
    for rung in ("task_int8", "litertlm_int8"):
        assert {name: rungs[rung][name] for name in names} == merged
    card = (clone / "metrics/report.md").read_text()
    assert all(name.replace("_", " ") in card for name in ("call exact", "false call"))


def test_the_bundle_answers_with_a_structured_call_and_then_in_words(clone):
    system, question, call, response, answer = light("kitchen", 40)
    greedy = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
    options = function_options(known.APP_TOOLS) | {"sampler_config": greedy}
    with (
        open_engine(clone / "models/bundle/int8.litertlm", 1) as engine,
        engine.create_conversation(messages=[system], **options) as chat,
    ):
        (said,) = chat.send_message(question["content"], max_output_tokens=48).tool_calls
        expected = call["tool_calls"][0]["function"]
        found = dict(said.arguments)
        found["level"] = type(found["level"])  # so small a model may take another level
        assert (said.name, found) == (expected["name"], expected["arguments"] | {"level": int})
        assert str(chat.send_message(response, max_output_tokens=48)) == answer["content"]
