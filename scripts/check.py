"""Judges every hop of the export chain by the thresholds of params.yaml.

Reads    metrics/evaluate.json, metrics/train.json, params.yaml (check, export.quantizations)
Writes   metrics/check.json: each check's value, threshold and verdict, by hop
         metrics/summary.json: the few figures by which people compare runs
Run      python scripts/check.py

A verdict is pass, fail, or inconclusive if the test split is too small to tell. This stage succeeds
whatever the verdicts are, so that a failed experiment keeps its figures; scripts/gate.py is what
exits with an error.
"""

from gemma_finetune.config import load_quantizations, load_section
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.gate import INCONCLUSIVE, checks, failure, verdicts
from gemma_finetune.reporting.summary import summarize
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import made_by, read_json, require, sha256, write_json


def main() -> None:
    config, quantizations = load_section("check", CheckConfig), load_quantizations()
    rungs = read_json(require("metrics/evaluate.json", "evaluate"))
    train = read_json(require("metrics/train.json", "train"))

    with made_by("evaluate", "metrics/evaluate.json"):
        found = checks(rungs, config, quantizations)
        content = verdicts(found, rungs, quantizations)
        summary = summarize(train, rungs, quantizations, content["verdict"])
    content["training"] = sha256("metrics/train.json")  # by which the gate knows what was judged
    write_json("metrics/check.json", content)
    write_json("metrics/summary.json", summary)

    for check in found:
        print(f"{check.verdict:<13}{check}")
    if count := content[INCONCLUSIVE]:
        print(f"{count} of {len(found)} inconclusive: more test conversations would decide them")
    if message := failure(found):
        print(f"FAILED: {message}")


if __name__ == "__main__":
    run(main)
