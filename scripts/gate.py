"""Ends with an error where a check of the last run failed: for `make repro`, CI, and before a
release.

Reads    metrics/check.json, which the stage `check` wrote
Run      python scripts/gate.py

No stage of the pipeline: DVC saves nothing of a run whose stage fails, and the figures of a weak
experiment are wanted.
"""

from gemma_finetune.config import load_quantizations
from gemma_finetune.reporting.gate import failure, read_verdicts
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import made_by, read_json, require


def main():
    content = read_json(require("metrics/check.json", "check"))
    with made_by("check", "metrics/check.json"):
        found = read_verdicts(content, load_quantizations())
        message = failure(found)
    if message:
        raise UserError(message)
    print(
        f"the gate: no check failed ({content['pass']} passed, {content['inconclusive']} inconclusive)"
    )


if __name__ == "__main__":
    run(main)
