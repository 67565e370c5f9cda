"""The model card as Markdown, from metrics and parameters alone. Pure functions: facts in, text
out.
"""

from collections.abc import Iterable, Sequence

from gemma_finetune.reporting.gate import failure, read_verdicts
from gemma_finetune.reporting.ladder import hops

_LADDER = (
    ("exact match", "exact_match", "{:.3f}"),
    ("perplexity", "perplexity", "{:.4g}"),
    ("top-1 agreement", "top1_agreement", "{:.3f}"),
    ("KL", "kl", "{:.2g}"),
    ("largest logit difference", "max_logit_diff", "{:.2g}"),
)

_RUNTIME = ("runtime_agreement", "follow_up_agreement", "faulty_answers")

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
) -> str:
    """The whole report. `rows`: ladder.table's; `check`: metrics/check.json's content; `manifests`:
    of each bundle.
    """
    adapter = next(iter(manifests.values()))[
        "adapter"
    ]  # as lora.npz says it, which may come from elsewhere
    by_rung = {row["rung"]: row for row in rows}
    return (
        "\n\n".join(
            [
                "# Model card",
                *_failure(check, params["export"]["quantizations"]),
                _summary(params["model"]["preset"], adapter, by_rung, check),
                "## What it was trained on\n\n" + _data(data),
                "## How it was trained\n\n" + _training(params, adapter, train),
                "![Loss by step](training.png)",
                "## What each hop of the export cost\n\n" + _ladder(rows),
                "![The ladder](ladder.png)",
                "## What the bundles said\n\n" + _runtimes(rows),
                "## The gate\n\n" + _gate(params, check),
                "## The files\n\n" + _files(manifests),
                "## How to run it\n\n" + _usage(params),
                "## Limits\n\n" + _limits(rows),
            ]
        )
        + "\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _summary(preset, adapter, by_rung, check):
    lora = by_rung["lora"]
    return (
        f"Gemma 3 (`{preset}`) fine-tuned with LoRA (rank {adapter['rank']}, alpha {adapter['alpha']:g}, "
        f"{', '.join(adapter['targets'])}). On the test set it answers "
        f"{_interval(lora)} of the turns exactly; the base {_interval(by_rung['base'])}. The gate: {check['pass']} "
        f"checks passed, {check['fail']} failed, {check['inconclusive']} inconclusive."
    )


def _failure(check, quantizations):
    """A paragraph at the top where a check failed; none where all is well."""
    message = failure(read_verdicts(check, quantizations))
    return [f"**FAILED**: {message}".replace("\n", "  \n")] if message else []


def _interval(row, name="exact_match"):
    return f"{row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"


def _data(data):
    names = list(next(iter(data["splits"].values())))
    names = [name for name in names if not isinstance(data["splits"]["train"][name], dict)]
    rows = [
        [split, *(_number(facts.get(name, "")) for name in names)]
        for split, facts in data["splits"].items()
    ]
    return (
        table(["split", *(name.replace("_", " ") for name in names)], rows)
        + "\n\nOnly the assistant's tokens and the end of its turns are learned from and scored. Counts of read, "
        "rejected and duplicate rows are in `data.json`."
    )


def _training(params, adapter, train):
    settings = {
        f"lora.{key}": ", ".join(v) if isinstance(v, list) else v for key, v in adapter.items()
    }
    settings |= {
        f"train.{key}": value for key, value in params["train"].items() if value is not None
    }
    settings["model.dtype"] = params["model"]["dtype"]
    return (
        table(
            ["setting", "value"], [[f"`{key}`", _number(value)] for key, value in settings.items()]
        )
        + "\n\n"
        + table(
            ["figure", "value"],
            [[key.replace("_", " "), _number(v)] for key, v in sorted(train.items())],
        )
    )


def _number(value):
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:.4g}"
        if isinstance(value, float)
        else value
    )


def _ladder(rows):
    header = ["rung", "what it is", *(title for title, _, _ in _LADDER), "against merged", "MB"]
    lines = [
        [
            f"`{row['rung']}`",
            MEANINGS.get(row["rung"]) or MEANINGS[row["rung"].partition("_")[0]],
            *(form.format(row[key]) for _, key, form in _LADDER),
            "" if row["exact_match_change"] is None else _change(row),
            f"{row['bytes'] / 1e6:,.2f}",
        ]
        for row in rows
    ]
    return (
        "Every rung was given the same token ids. Exact match: share of the assistant's turns whose greedy answer is "
        "the reference. Against merged: its change, with the 95 % paired bootstrap interval. KL in nats a token.\n\n"
        + table(header, lines)
    )


def _change(row):
    low, high = row["exact_match_change_low"], row["exact_match_change_high"]
    return f"{row['exact_match_change']:+.3f} ({low:+.3f} to {high:+.3f})"


def _runtimes(rows):
    lines = [
        [f"`{row['rung']}`", *("" if row[key] is None else f"{row[key]:.3f}" for key in _RUNTIME)]
        for row in rows
        if row["runtime_agreement"] is not None
    ]
    return (
        "LiteRT-LM loaded each bundle and answered every turn. Runtime agreement: share of answers that are what the "
        "model file's logits foretell. Follow-up agreement: share of second answers that are the same in a chat that "
        "the runtime holds itself. Faulty: empty, never ending, repeating, or with control tokens.\n\n"
        + table(["rung", *(key.replace("_", " ") for key in _RUNTIME)], lines)
    )


def _gate(params, check):
    lines = [
        [
            hop,
            f"`{name}`",
            f"{figures['value']:.4g}",
            f"{figures['threshold']:.4g}",
            figures["verdict"],
        ]
        for hop in hops(params["export"]["quantizations"])
        for name, figures in check["hops"][hop].items()
    ]
    return table(["hop", "figure", "value", "threshold", "verdict"], lines)


def _files(manifests):
    files = {
        name: facts
        for manifest in manifests.values()
        for name, facts in manifest["bundles"].items()
    }
    lines = [
        [f"`models/bundle/{n}`", f"{facts['bytes']:,}", f"`{facts['sha256']}`"]
        for n, facts in files.items()
    ]
    return (
        "The figures above are of these files; the `.json` beside each says what it was made of.\n\n"
        + table(["file", "bytes", "SHA-256"], lines)
    )


def _usage(params):
    name = params["export"]["quantizations"][0]
    return (
        f"On this machine: `python scripts/chat.py --model models/bundle/{name}.task`. On a phone: load "
        f"`models/bundle/{name}.task` with MediaPipe's LLM Inference, or `models/bundle/{name}.litertlm` with "
        "LiteRT-LM; README.md has the steps."
    )


def _limits(rows):
    return (
        "Measured on a desktop CPU, on LiteRT and LiteRT-LM; not on a phone, a GPU or an NPU. The test set is split "
        "from the same source as the training data: other requests than its kind are not covered. Exact match of rungs "
        "without a runtime is computed from logits, with the reference conversation before each turn; it is a lower "
        "bound where one string has several tokenizations."
    )
