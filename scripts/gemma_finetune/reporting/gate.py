"""The gate: each hop's figures against its thresholds, and what to tell a person where one failed.

The stage `check` writes the verdicts to metrics/check.json and always succeeds; scripts/gate.py
exits with 1 where one is `fail`. Pure functions on the content of metrics/evaluate.json and
metrics/check.json.

A sampled figure (exact match) is judged by its 95 % interval: `pass` or `fail` when the whole
interval is on one side of the threshold, `inconclusive` when the sample can't tell. The other
figures compare two models on the same tokens and are judged as they are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gemma_finetune.config import BUNDLE_KINDS
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.ladder import hops
from gemma_finetune.utils.cli import UserError

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"

CAUSES = {
    "train": "the run was too short, the learning rate unfit for this base, or the loss mask wrong "
    "(see metrics/train.json for the supervised fraction)",
    "merge": "the adapter was dropped, the scale (alpha / rank) left out, a kernel transposed, or the merge "
    "was not done in float32",
    "transformers": "models/merged/config.json says otherwise than the weights were trained with "
    "(RoPE bases, sliding window, head dimension, norm epsilon), or a kernel was written transposed",
    "tflite": "the converter read another config or other weights than transformers, or its cache, mask or "
    "prefill lengths are wrong",
    "quantize": "a coarser recipe than meant (channelwise INT4 instead of blocks of 32), or a sensitive tensor "
    "(embedding, v_proj) in too few bits",
    "bundle": "a missing or second BOS, a template that differs from training's, a stop token the model never "
    "says, another tokenizer, or a bundle of another model",
}


@dataclass(frozen=True)
class Check:
    """One figure of one rung against its threshold. `low`, `high`: its 95 % interval, where it has
    one.
    """

    hop: str
    rung: str
    metric: str
    value: float
    threshold: float
    verdict: str
    low: float | None = None
    high: float | None = None

    def figures(self) -> dict:
        """The check as metrics/check.json has it, without what it is about."""
        names = ("value", "low", "high", "threshold", "verdict")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __str__(self):
        interval = "" if self.low is None else f" (95 % interval {self.low:.4g} to {self.high:.4g})"
        return f"{self.hop}: {self.rung}.{self.metric} is {self.value:.4g}{interval}, threshold {self.threshold:.4g}"


def checks(
    metrics: dict[str, dict], config: CheckConfig, quantizations: Sequence[str]
) -> list[Check]:
    """All checks, in ladder order. UserError for a rung or a threshold that is missing."""
    found = [_at_least("train", metrics, "lora", "exact_match", config.min_exact_match)]
    for hop, rung in (
        ("merge", "lora"),
        ("transformers", "transformers"),
        ("tflite", "tflite_float32"),
    ):
        found.append(_at_most(hop, metrics, rung, "max_logit_diff", config.max_logit_diff))
    for name in quantizations:
        found += _quantization(metrics, config, name)
    return found


def _quantization(metrics, config, name):
    hop, rung = f"quantize@{name}", f"tflite_{name}"
    loss = _threshold(config.max_exact_match_loss, "max_exact_match_loss", name)
    yield _at_most(hop, metrics, rung, "kl", _threshold(config.max_kl, "max_kl", name))
    yield _at_least(hop, metrics, rung, "exact_match_change", -loss)
    for runtime in BUNDLE_KINDS:
        hop, rung = f"bundle@{name}", f"{runtime}_{name}"
        yield _at_least(hop, metrics, rung, "runtime_agreement", config.min_runtime_agreement)
        yield _at_most(hop, metrics, rung, "faulty_answers", config.max_faulty_answers)


def _threshold(table, key, name):
    if name not in table:
        raise UserError(
            f"params.yaml: check.{key}: no threshold for {name}, which export.quantizations lists; add one"
        )
    return table[name]


def _at_most(hop, metrics, rung, metric, threshold):
    value = _value(metrics, rung, metric)
    return Check(hop, rung, metric, value, threshold, PASS if value <= threshold else FAIL)


def _at_least(hop, metrics, rung, metric, threshold):
    value = _value(metrics, rung, metric)
    low, high = (metrics[rung].get(f"{metric}_{end}") for end in ("low", "high"))
    verdict = PASS if value >= threshold else FAIL
    if low is not None:
        verdict = PASS if low >= threshold else FAIL if high < threshold else INCONCLUSIVE
    return Check(hop, rung, metric, value, threshold, verdict, low, high)


def _value(metrics, rung, metric):
    if metric not in metrics.get(rung, {}):
        raise UserError(f"metrics/evaluate.json has no {rung}.{metric}; run `dvc repro evaluate`")
    return metrics[rung][metric]


def verdicts(found: Sequence[Check]) -> dict:
    """metrics/check.json's content: the verdict, how many checks gave which, and the figures by
    hop.
    """
    counts = Counter(check.verdict for check in found)
    by_hop: dict[str, dict] = {}
    for check in found:
        by_hop.setdefault(check.hop, {})[f"{check.rung}.{check.metric}"] = check.figures()
    return {
        "verdict": FAIL if counts[FAIL] else PASS,
        **{verdict: counts[verdict] for verdict in (PASS, FAIL, INCONCLUSIVE)},
        "hops": by_hop,
    }


def read_verdicts(content: dict, quantizations: Sequence[str]) -> list[Check]:
    """The checks in metrics/check.json, in ladder order."""
    found = []
    for hop in hops(quantizations):
        for name, figures in content["hops"].get(hop, {}).items():
            rung, _, metric = name.rpartition(".")
            found.append(Check(hop=hop, rung=rung, metric=metric, **figures))
    return found


def failed_hops(content: dict, quantization: str) -> list[str]:
    """The hops on the way to this quantization's bundle at which a check failed."""
    failed = []
    for hop in hops([quantization]):
        figures = content["hops"].get(hop, {}).values()
        if any(figure["verdict"] == FAIL for figure in figures):
            failed.append(hop)
    return failed


def failure(found: Sequence[Check]) -> str | None:
    """What to tell the person when a check failed: the first broken hop with its causes, then what
    follows from it.
    """
    failed = [check for check in found if check.verdict == FAIL]
    if not failed:
        return None
    first = failed[0].hop
    lines = [f"the export chain breaks at hop {first}:"]
    lines += [f"  {check}" for check in failed if check.hop == first]
    lines.append(f"  likeliest causes: {CAUSES[first.split('@')[0]]}")
    if later := [f"  {check}" for check in failed if check.hop != first]:
        lines += ["After it, perhaps as a consequence:", *later]
    return "\n".join(lines)
