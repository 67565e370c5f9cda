"""Exits with an error if a check of the last run failed: for CI, and before a release.

Reads    metrics/check.json, which the stage `check` wrote, and params.yaml (export.quantizations)
Run      python scripts/gate.py

Not a stage of the pipeline: DVC saves nothing of a run in which a stage fails, and the figures of a
weak experiment are worth keeping.
"""

from gemma_finetune.config import load_quantizations
from gemma_finetune.reporting.gate import INCONCLUSIVE, PASS, failure, read_verdicts
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import made_by, read_json, require


def main() -> None:
    content = read_json(require("metrics/check.json", "check"))
    with made_by("check", "metrics/check.json"):
        found = read_verdicts(content, load_quantizations())
        message = failure(found)
    if message:
        raise UserError(message)

    verdicts = [check.verdict for check in found]
    passed, inconclusive = verdicts.count(PASS), verdicts.count(INCONCLUSIVE)
    print(f"the gate: no check failed ({passed} passed, {inconclusive} inconclusive)")


if __name__ == "__main__":
    run(main)
