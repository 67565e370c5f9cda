"""The model card as Markdown, from metrics and parameters. Pure functions: facts in, text out."""

from collections.abc import Iterable, Sequence
from typing import Any

from gemma_finetune.reporting.gate import failure, read_verdicts
from gemma_finetune.reporting.hub import header
from gemma_finetune.reporting.ladder import hops

_LADDER = (
    ("exact match", "exact_match", "{:.3f}"),
    ("perplexity", "perplexity", "{:.4g}"),
    ("top-1 agreement", "top1_agreement", "{:.3f}"),
    ("KL", "kl", "{:.2g}"),
    ("largest logit difference", "max_logit_diff", "{:.2g}"),
)

_RUNTIME = ("runtime_agreement", "follow_up_agreement", "faulty_answers", "cut_off")
# Figures of answers that have other tables, and what belongs to a figure rather than being one.
_ELSEWHERE = {"exact_match", *_RUNTIME}
_FORMS = {"answer_length": "{:,.0f}"}

MEANINGS = {
    "base": "the base model, before any training on the task",
    "lora": "the base with the adapter on, in Keras",
    "merged": "the adapter added into the weights, in Keras: the reference of every comparison",
    "transformers": "the same directory as transformers reads it",
    "tflite_float32": "converted, not yet quantized, on LiteRT",
    "tflite": "quantized, on LiteRT",
    "task": "the MediaPipe bundle, its answers from LiteRT-LM",
    "litertlm": "the LiteRT-LM bundle, its answers from LiteRT-LM",
}


def card(
    params: dict,
    data: dict,
    train: dict,
    rows: Sequence[dict],
    check: dict,
    manifests: dict[str, dict],
    test_set: dict,
    answers: str,
) -> str:
    """The whole report.

    params: the sections data, model, train and export of params.yaml, and under "auto" the names
    of the parameters that were chosen for the base and the data.
    data, train, check: what metrics/data.json, train.json and check.json hold.
    rows: ladder.table's.
    manifests: models/bundle/NAME.json by NAME, one a quantization.
    test_set: what metrics/evaluate.json says of it.
    answers: samples.samples's.
    """
    quantizations = params["export"]["quantizations"]
    by_rung = {row["rung"]: row for row in rows}
    # The adapter's settings as lora.npz has them: it may come from elsewhere than this params.yaml.
    adapter = next(iter(manifests.values()))["adapter"]
    parts = [
        header(params["model"]["preset"], rows, test_set["score"]),
        "# Model card",
        *_failure(check, quantizations),
        _summary(params["model"]["preset"], adapter, by_rung, check, test_set["score"]),
        "## What it was trained on",
        *_data(data),
        "## How it was trained",
        *_training(params, adapter, train),
        "![Loss by step](training.png)",
        "## What each hop of the export cost",
        *_ladder(rows, test_set),
        "![The ladder](ladder.png)",
        "## What the answers are like",
        *_answers(rows, test_set),
        "## What the bundles said",
        *_runtimes(rows),
        "## The gate",
        _gate(quantizations, check),
        "## Ten questions",
        answers,
        "## The files",
        *_files(manifests),
        "## How to run it",
        _usage(quantizations[0]),
        "## Limits",
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A Markdown table."""
    lines = []
    for cells in (header, ["---"] * len(header), *rows):
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _failure(check: dict, quantizations: Sequence[str]) -> list[str]:
    """A paragraph for the top of the card if a check failed, else nothing."""
    message = failure(read_verdicts(check, quantizations))
    if message is None:
        return []
    return [f"**FAILED**: {message}".replace("\n", "  \n")]  # two spaces: Markdown breaks the line


def _summary(preset: str, adapter: dict, by_rung: dict[str, dict], check: dict, score: str) -> str:
    tuned = by_rung["lora" if by_rung["lora"].get(score) is not None else "merged"]
    base = by_rung["base"]
    if score == "exact_match":
        result = (
            f"it answers {_interval(tuned, score)} of the turns exactly; "
            f"the base {_interval(base, score)}"
        )
    else:
        result = (
            f"its {_words(score)} is {_interval(tuned, score)}; the base's {_interval(base, score)}"
        )
    return (
        f"Gemma 3 (`{preset}`) fine-tuned with LoRA (rank {adapter['rank']}, "
        f"alpha {adapter['alpha']:g}, {', '.join(adapter['targets'])}). On the test set {result}. "
        f"The gate: {check['pass']} checks passed, "
        f"{check['fail']} failed, {check['inconclusive']} inconclusive."
    )


def _interval(row: dict, name: str) -> str:
    form = _FORMS.get(name, "{:.3f}")
    value, low, high = (form.format(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def _data(data: dict) -> list[str]:
    splits = data["splits"]
    names = [name for name, value in splits["train"].items() if not isinstance(value, dict)]
    rows = []
    for split, facts in splits.items():
        rows.append([split, *(_number(facts.get(name, "")) for name in names)])
    return [
        table(["split", *(_words(name) for name in names)], rows),
        "Only the assistant's tokens and the end of its turns are learned from and scored.",
        _left_out(data),
    ]


def _left_out(data: dict) -> str:
    """How many rows each stage removed, of those that reached it."""
    rows = data["rows"]
    removed = {
        "rejected": (rows["raw"] - rows["validate"], rows["raw"]),
        "duplicates": (rows["convert"] - rows["dedup"], rows["convert"]),
        "too long": (data["overlong"], rows["dedup"]),
    }
    if "rejected_by_base" in data:
        removed["with control tokens of the base"] = (data["rejected_by_base"], rows["dedup"])
    parts = []
    for name, (count, reached) in removed.items():
        parts.append(f"{count:,} {name} ({count / max(reached, 1):.1%})")
    return f"Of {rows['raw']:,} rows that were read, these were left out: {', '.join(parts)}."


def _training(params: dict, adapter: dict, train: dict) -> list[str]:
    settings = {f"lora.{key}": value for key, value in adapter.items()}
    settings["lora.targets"] = ", ".join(adapter["targets"])
    for key, value in params["train"].items():
        if value is not None:
            settings[f"train.{key}"] = value
    settings["model.dtype"] = params["model"]["dtype"]
    for key in ("cache_length", "prefill_lengths", "calibration_tokens"):
        settings[f"export.{key}"] = params["export"][key]
    figures = sorted(item for item in train.items() if item[0] != "settings")
    rows = []
    for key, value in settings.items():
        how = " (auto)" if key in params["auto"] else ""
        rows.append((f"`{key}`", f"{_number(value)}{how}"))
    return [
        table(["setting", "value"], rows),
        table(["figure", "value"], [(_words(key), _number(v)) for key, v in figures]),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(_number, value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else value


def _ladder(rows: Sequence[dict], test_set: dict) -> list[str]:
    lines = []
    for row in rows:
        rung = row["rung"]
        meaning = MEANINGS.get(rung) or MEANINGS[rung.partition("_")[0]]
        figures = [form.format(row[key]) for _, key, form in _LADDER]
        change = _change(row, "exact_match")
        lines.append([f"`{rung}`", meaning, *figures, change, f"{row['bytes'] / 1e6:,.2f}"])
    titles = [title for title, _, _ in _LADDER]
    return [
        f"Every rung was given the same token ids: {test_set['positions']:,} scored positions of "
        f"{test_set['conversations']:,} of the {test_set['found']:,} test conversations. Exact "
        "match: share of the assistant's turns whose greedy answer is the reference. Against "
        "merged: its change, with the 95 % paired bootstrap interval. KL in nats a token.",
        table(["rung", "what it is", *titles, "against merged", "MB"], lines),
    ]


def _change(row: dict, name: str) -> str:
    if row[f"{name}_change"] is None:  # the merged model itself
        return ""
    form = _FORMS.get(name, "{:.3f}").replace(":", ":+")
    value, low, high = (form.format(row[f"{name}_change{end}"]) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def _answers(rows: Sequence[dict], test_set: dict) -> list[str]:
    """The figures of answers that fit the task, of every rung that generates."""
    names = [name for name in rows[0] if f"{name}_change" in rows[0] and name not in _ELSEWHERE]
    titles = []
    for name in names:
        titles += [_words(name), "against merged"]
    lines = []
    for row in rows:
        if row["cut_off"] is not None:
            line = [f"`{row['rung']}`"]
            for name in names:
                line += [_interval(row, name), _change(row, name)]
            lines.append([*line, f"{row['cut_off']:.3f}"])
    return [
        f"{test_set['answers']:,} answers, compared as {test_set['task']}: the gate looks at "
        f"{_words(test_set['score'])}. A reference has {test_set['reference_length']:,.0f} "
        f"characters on average, and an answer may have {test_set['max_tokens']:,} tokens. Cut "
        "off: share of answers that a limit ended. The answers of base and merged model come from "
        "transformers.",
        table(["rung", *titles, "cut off"], lines),
    ]


def _runtimes(rows: Sequence[dict]) -> list[str]:
    lines = []
    for row in rows:
        if row["runtime_agreement"] is not None:
            figures = ["" if row[key] is None else f"{row[key]:.3f}" for key in _RUNTIME]
            lines.append([f"`{row['rung']}`", *figures])
    return [
        "LiteRT-LM loaded each bundle and answered every turn. Runtime agreement: share of answers "
        "that are what the model file's logits foretell. Follow-up agreement: share of second "
        "answers that are the same in a chat that the runtime holds itself. Faulty: empty, going "
        "on where the logits or a far shorter reference end, repeating, or with control tokens.",
        table(["rung", *(_words(key) for key in _RUNTIME)], lines),
    ]


def _gate(quantizations: Sequence[str], check: dict) -> str:
    lines = []
    for hop in hops(quantizations):
        for name, figures in check["hops"][hop].items():
            value, threshold = f"{figures['value']:.4g}", f"{figures['threshold']:.4g}"
            lines.append([hop, f"`{name}`", value, threshold, figures["verdict"]])
    return table(["hop", "figure", "value", "threshold", "verdict"], lines)


def _files(manifests: dict[str, dict]) -> list[str]:
    lines = []
    for manifest in manifests.values():
        for name, facts in manifest["bundles"].items():
            lines.append([f"`models/bundle/{name}`", f"{facts['bytes']:,}", f"`{facts['sha256']}`"])
    return [
        "The figures above are of these files; the `.json` beside each says what it was made of.",
        table(["file", "bytes", "SHA-256"], lines),
    ]


def _usage(name: str) -> str:
    return (
        f"On this machine: `python scripts/chat.py --model models/bundle/{name}.task`. On a phone: "
        f"load `models/bundle/{name}.task` with MediaPipe's LLM Inference, or "
        f"`models/bundle/{name}.litertlm` with LiteRT-LM; docs/devices.md has the steps."
    )


_LIMITS = (
    "Measured on a desktop CPU, on LiteRT and LiteRT-LM; not on a phone, a GPU or an NPU. The test "
    "set is split from the same source as the training data: other requests than its kind are not "
    "covered. Exact match of rungs without a runtime is computed from logits, with the reference "
    "conversation before each turn; it is a lower bound where one string has several tokenizations."
)
