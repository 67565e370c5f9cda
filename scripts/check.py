"""The gate: fails the pipeline where a hop of the export chain lost more than params.yaml allows.

Reads    metrics/evaluate.json, params.yaml (check, export.quantizations)
Writes   metrics/check.json: each check's value, threshold and verdict, by hop; written when a check fails, too
Run      python scripts/check.py

Verdicts: pass, fail, and inconclusive where the test set is too small to tell. Only a fail ends with an error.
"""

from collections import Counter
from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.evaluation.config import CheckConfig
from gemma_finetune.evaluation.gate import FAIL, INCONCLUSIVE, PASS, checks, failure
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import made_by, read_json, require, write_json


def main():
    config, quantizations = load_section("check", CheckConfig), load_section("export", ExportConfig).quantizations
    metrics = read_json(require("metrics/evaluate.json", "evaluate"))
    with made_by("evaluate", "metrics/evaluate.json"):
        found = checks(metrics, config, quantizations)
    counts = Counter(check.verdict for check in found)
    hops = {}
    for check in found:
        hops.setdefault(check.hop, {})[f"{check.rung}.{check.metric}"] = check.figures()
    write_json("metrics/check.json", {**{v: counts[v] for v in (PASS, FAIL, INCONCLUSIVE)}, "hops": hops})
    for check in found:
        print(f"{check.verdict:<13}{check}")
    if message := failure(found):
        Path("metrics/report.md").unlink(missing_ok=True)  # an earlier model's card, which says it passed
        raise UserError(message)
    if counts[INCONCLUSIVE]:
        print(f"{counts[INCONCLUSIVE]} of {len(found)} inconclusive: more test conversations would decide them")


if __name__ == "__main__":
    run(main)
