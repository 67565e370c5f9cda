"""Exits with an error if a check of the last run failed: for CI, and before a release.

Reads    metrics/check.json, which the stage `check` wrote, and what it judged: metrics/train.json,
         metrics/evaluate.json, models/bundle (what is there), params.yaml (check,
         export.quantizations)
Run      python scripts/gate.py

Not a stage of the pipeline: DVC saves nothing of a run in which a stage fails, and the figures of a
weak experiment are worth keeping.
"""

from collections.abc import Mapping
from pathlib import Path

from gemma_finetune.config import load_quantizations, load_section
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.gate import INCONCLUSIVE, PASS, checks, failure, read_verdicts
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import made_by, read_json, require, sha256


def main() -> None:
    content, quantizations = read_json(require("metrics/check.json", "check")), load_quantizations()
    with made_by("check", "metrics/check.json"):
        found = read_verdicts(content, quantizations)
        message = failure(found)
    if message:
        raise UserError(message)
    figures = read_json(require("metrics/evaluate.json", "evaluate"))
    with made_by("evaluate", "metrics/evaluate.json"):
        judged = checks(figures, load_section("check", CheckConfig), quantizations)
    if set(found) != set(judged):
        raise UserError(
            "metrics/check.json was judged by other thresholds or figures than params.yaml and "
            "metrics/evaluate.json have now; run `dvc repro check`"
        )
    with made_by("check", "metrics/check.json"):
        refuse_others(content["training"], content["bundles"])

    verdicts = [check.verdict for check in found]
    passed, inconclusive = verdicts.count(PASS), verdicts.count(INCONCLUSIVE)
    print(f"the gate: no check failed ({passed} passed, {inconclusive} inconclusive)")


def refuse_others(training: str, bundles: Mapping[str, str]) -> None:
    """UserError if the training or a bundle is not the one that was judged, by SHA-256."""
    path = require("metrics/train.json", "train")
    if sha256(path) != training:
        raise UserError(f"{path} is not of the training that was judged; run `dvc repro`")
    for name, digest in bundles.items():
        path = Path("models/bundle") / name
        if path.exists() and sha256(path) != digest:
            raise UserError(f"{path} is not the file that was judged; run `dvc repro`")


if __name__ == "__main__":
    run(main)
