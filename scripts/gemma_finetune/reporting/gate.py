"""The gate: compares each hop's figures with its thresholds and explains what failed.

The stage `check` writes the verdicts to metrics/check.json and succeeds whatever they are;
scripts/gate.py exits with 1 if one of them is `fail`. Everything here is a pure function of what
metrics/evaluate.json or metrics/check.json holds.

- The score (exact match, or another figure that fits evaluate.task) is judged by its 95 % interval:
  `pass` or `fail` if the whole interval is on one side of the threshold, `inconclusive` if the
  sample is too small to tell.
- The shares of agreeing and of faulty answers, and the figures of check.min_figures and
  max_figures, pass by their value, and fail where the whole interval is on the wrong side.
- The other figures compare two models on the same tokens and are judged as they are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemma_finetune.config import BUNDLE_KINDS
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.ladder import hops
from gemma_finetune.utils.errors import UserError

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"

UNTRAINED = (
    "the run was too short, the learning rate unfit for this base, or the loss mask wrong "
    "(see metrics/train.json for the supervised fraction)"
)
OTHER_WORDS = (
    "if right answers can be worded in more than one way, compare them as what they are: "
    "evaluate.task"
)
CUT_OFF = "if many are cut off (cut_off in metrics/evaluate.json), raise evaluate.max_tokens"
ROUNDED = (
    "a coarser recipe than intended (channelwise INT4 instead of blocks of 32), or a "
    "sensitive tensor (embedding, v_proj) in too few bits"
)
RUNTIME = (
    "a missing or second BOS, a template that differs from training's, a stop token the "
    "model never says, another tokenizer, or a bundle of another model"
)

# The likeliest causes by stage, or by stage and figure where they differ.
CAUSES = {
    "train": f"{UNTRAINED}; {CUT_OFF}",
    "train.loss": "the adapter makes the base worse: train.learning_rate is too high for this "
    "base, or the run was too short",
    "train.exact_match": f"{UNTRAINED}; {OTHER_WORDS}; {CUT_OFF}",
    "train.faulty_answers": "the merged model itself goes on without end, repeats itself or says "
    "nothing, so the export is not to blame: too few steps to learn where an answer ends",
    "merge": "the adapter was dropped, the scale (alpha / rank) left out, a kernel transposed, "
    "or the merge was not done in float32",
    "transformers": "models/merged/config.json differs from what the weights were trained with "
    "(RoPE bases, sliding window, head dimension, norm epsilon), or a kernel was written "
    "transposed",
    "tflite": "the converter read another config or other weights than transformers, or its "
    "cache, mask or prefill lengths are wrong",
    "quantize": ROUNDED,
    "bundle": RUNTIME,
    "bundle.faulty_answers": "its answers are what the model file's logits foretell, so the "
    "runtime is not to blame: the merged model does the same, or quantization broke it, by "
    f"{ROUNDED}",
}


@dataclass(frozen=True)
class Check:
    """A figure of one rung, its threshold, and its 95 % interval (`low`, `high`) if it has one."""

    hop: str
    rung: str
    metric: str
    value: float
    threshold: float
    verdict: str
    low: float | None = None
    high: float | None = None

    def figures(self) -> dict:
        """The part of the check that metrics/check.json stores under its hop, rung and metric."""
        names = ("value", "low", "high", "threshold", "verdict")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __str__(self) -> str:
        interval = "" if self.low is None else f" (95 % interval {self.low:.4g} to {self.high:.4g})"
        figure = f"{self.rung}.{self.metric} is {self.value:.4g}{interval}"
        return f"{self.hop}: {figure}, threshold {self.threshold:.4g}"


def checks(
    metrics: dict[str, dict], config: CheckConfig, quantizations: Sequence[str]
) -> list[Check]:
    """All checks, in ladder order. UserError if a rung, a figure or a threshold is missing."""
    found = _training_checks(metrics, config)
    # Hops at which nothing may change.
    for hop, rung in (
        ("merge", "lora"),
        ("transformers", "transformers"),
        ("tflite", "tflite_float32"),
    ):
        found.append(_at_most(hop, metrics, rung, "max_logit_diff", config.max_logit_diff))
    for name in quantizations:
        found += _quantization_checks(metrics, config, name)
    return found


def _training_checks(metrics: dict[str, dict], config: CheckConfig) -> list[Check]:
    task, score = _value(metrics, "test_set", "task"), _value(metrics, "test_set", "score")
    min_score = _threshold(config.min_score, "min_score", task)
    rung = "lora" if score in metrics.get("lora", {}) else "merged"  # where answers are generated
    return [
        _at_most("train", metrics, "lora", "loss", _value(metrics, "base", "loss")),
        _surely_at_least("train", metrics, rung, score, min_score),
        *_further_checks("train", metrics, "merged", config),
        _at_most("train", metrics, "merged", "faulty_answers", config.max_faulty_answers),
    ]


def _further_checks(hop: str, metrics: dict, rung: str, config: CheckConfig) -> Iterator[Check]:
    """Of the figures that the user named. UserError if there is no such figure of this rung."""
    for key in ("min_figures", "max_figures"):
        for figure, threshold in getattr(config, key).items():
            known = sorted(name for name in metrics[rung] if f"{name}_low" in metrics[rung])
            if figure not in known:
                raise UserError(
                    f"params.yaml: check.{key}: no figure {figure!r} of these answers; there are "
                    + ", ".join(known)
                )
            judge = _at_least if key == "min_figures" else _at_most
            yield judge(hop, metrics, rung, figure, threshold)


def _quantization_checks(
    metrics: dict[str, dict], config: CheckConfig, name: str
) -> Iterator[Check]:
    max_loss = _threshold(config.max_score_loss, "max_score_loss", name)
    max_kl = _threshold(config.max_kl, "max_kl", name)

    hop, rung = f"quantize@{name}", f"tflite_{name}"
    yield _at_most(hop, metrics, rung, "kl", max_kl)
    change = f"{_value(metrics, 'test_set', 'score')}_change"
    generating = [f"{kind}_{name}" for kind in BUNDLE_KINDS]  # whose answers are the model's own
    judged = [rung] if change in metrics.get(rung, {}) else generating
    for rung in judged:
        yield _surely_at_least(hop, metrics, rung, change, -max_loss)

    hop = f"bundle@{name}"
    for rung in generating:
        yield _at_least(hop, metrics, rung, "runtime_agreement", config.min_runtime_agreement)
        yield from _further_checks(hop, metrics, rung, config)
        yield _at_most(hop, metrics, rung, "faulty_answers", config.max_faulty_answers)


def _threshold(thresholds: dict[str, float], key: str, name: str) -> float:
    if name not in thresholds:
        source = "evaluate.task" if key == "min_score" else "export.quantizations"
        raise UserError(f"params.yaml: check.{key}: no threshold for {name} of {source}; add one")
    return thresholds[name]


def _at_most(hop: str, metrics: dict, rung: str, metric: str, threshold: float) -> Check:
    """Passes by the value; a figure with an interval fails only if all of it is above."""
    value, low, high = _figure(metrics, rung, metric)
    verdict = PASS if value <= threshold else FAIL  # NaN fails
    if verdict == FAIL and low is not None and low <= threshold:
        verdict = INCONCLUSIVE
    return Check(hop, rung, metric, value, threshold, verdict, low, high)


def _at_least(hop: str, metrics: dict, rung: str, metric: str, threshold: float) -> Check:
    """Passes by the value; a figure with an interval fails only if all of it is below."""
    value, low, high = _figure(metrics, rung, metric)
    verdict = PASS if value >= threshold else FAIL
    if verdict == FAIL and high is not None and high >= threshold:
        verdict = INCONCLUSIVE
    return Check(hop, rung, metric, value, threshold, verdict, low, high)


def _surely_at_least(hop: str, metrics: dict, rung: str, metric: str, threshold: float) -> Check:
    """Passes only if the whole interval does."""
    check = _at_least(hop, metrics, rung, metric, threshold)
    if check.verdict == PASS and check.low is not None and check.low < threshold:
        return replace(check, verdict=INCONCLUSIVE)
    return check


def _figure(metrics: dict, rung: str, metric: str) -> tuple[float, float | None, float | None]:
    """A figure, and its interval if it has one."""
    value = _value(metrics, rung, metric)
    return value, metrics[rung].get(f"{metric}_low"), metrics[rung].get(f"{metric}_high")


def _value(metrics: dict, rung: str, metric: str) -> Any:
    if metric not in metrics.get(rung, {}):
        raise UserError(f"metrics/evaluate.json has no {rung}.{metric}; run `dvc repro evaluate`")
    return metrics[rung][metric]


def verdicts(
    found: Sequence[Check], metrics: dict[str, dict], quantizations: Sequence[str]
) -> dict:
    """metrics/check.json's content: the verdict, its counts, the figures by hop, the bundles.

    `bundles` maps each bundle's file name to its SHA-256, by which chat.py knows whether a file is
    the one that was judged. There is no list anywhere: DVC would plot it as data points.
    """
    by_hop: dict[str, dict] = {}
    for check in found:
        by_hop.setdefault(check.hop, {})[f"{check.rung}.{check.metric}"] = check.figures()

    bundles = {}
    for name in quantizations:
        for kind in BUNDLE_KINDS:
            bundles[f"{name}.{kind}"] = metrics[f"{kind}_{name}"]["sha256"]

    counts = Counter(check.verdict for check in found)
    return {
        "verdict": FAIL if counts[FAIL] else PASS,
        PASS: counts[PASS],
        FAIL: counts[FAIL],
        INCONCLUSIVE: counts[INCONCLUSIVE],
        "hops": by_hop,
        "bundles": bundles,
    }


def read_verdicts(content: dict, quantizations: Sequence[str]) -> list[Check]:
    """The checks in metrics/check.json's `content`, hops in ladder order.

    KeyError if it does not judge a hop of these quantizations.
    """
    found = []
    for hop in hops(quantizations):
        for name, figures in content["hops"][hop].items():
            rung, _, metric = name.rpartition(".")
            found.append(Check(hop=hop, rung=rung, metric=metric, **figures))
    return found


def failed_hops(content: dict, bundle: str) -> list[str]:
    """The hops at which a check failed on the way to `bundle`, a file name such as "int8.task".

    What failed in the other bundle of the same quantization does not count.
    """
    quantization, _, kind = bundle.rpartition(".")
    others = {f"{other}_{quantization}" for other in BUNDLE_KINDS if other != kind}
    failed = []
    for check in read_verdicts(content, [quantization]):
        if check.verdict == FAIL and check.rung not in others and check.hop not in failed:
            failed.append(check.hop)
    return failed


def failure(found: Sequence[Check]) -> str | None:
    """What to tell the person if a check failed, else None.

    The first broken hop comes first, with its likeliest causes; later hops may only follow from it.
    """
    failed = [check for check in found if check.verdict == FAIL]
    if not failed:
        return None
    hop = failed[0].hop
    here = [check for check in failed if check.hop == hop]
    later = [f"  {check}" for check in failed if check.hop != hop]

    lines = [f"the export chain breaks at hop {hop}:"]
    lines += [f"  {check}" for check in here]
    lines.append(f"  likeliest causes: {_causes(here, found)}")
    if later:
        lines += ["After it, perhaps as a consequence:", *later]
    return "\n".join(lines)


def _causes(here: Sequence[Check], found: Sequence[Check]) -> str:
    """The likeliest causes of the failed checks of one hop, each said once."""
    causes = []
    for check in here:
        stage = check.hop.partition("@")[0]
        key = f"{stage}.{check.metric}"
        if stage == "bundle" and check.metric != "runtime_agreement":
            key = "bundle.faulty_answers" if _agrees(check.rung, found) else stage
        if (
            stage == "quantize"
            and check.rung.startswith(BUNDLE_KINDS)
            and not _agrees(check.rung, found)
        ):
            key = "bundle"  # the answers are not the model file's own
        causes.append(CAUSES.get(key, CAUSES[stage]))
    return "; ".join(dict.fromkeys(causes))


def _agrees(rung: str, found: Sequence[Check]) -> bool:
    """Whether the runtime says what the model file's logits foretell."""
    verdicts = [c.verdict for c in found if (c.rung, c.metric) == (rung, "runtime_agreement")]
    return verdicts == [PASS]
