"""Judges every hop of the export chain by the thresholds of params.yaml, and writes the figures of
the run.

Reads    metrics/evaluate.json, metrics/train.json, params.yaml (check, export.quantizations)
Writes   metrics/check.json: each check's value, threshold and verdict, by hop
         metrics/summary.json: the few figures by which people compare runs
Run      python scripts/check.py

Verdicts are pass, fail, and inconclusive where the test split is too small to tell. This stage
succeeds whatever they are, so that a failed experiment keeps its figures; scripts/gate.py is what
ends with an error.
"""

from gemma_finetune.config import BUNDLE_KINDS, load_quantizations, load_section
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.gate import INCONCLUSIVE, checks, failure, verdicts
from gemma_finetune.reporting.summary import summarize
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import made_by, read_json, require, write_json


def main():
    config, quantizations = load_section("check", CheckConfig), load_quantizations()
    rungs = read_json(require("metrics/evaluate.json", "evaluate"))
    train = read_json(require("metrics/train.json", "train"))
    with made_by("evaluate", "metrics/evaluate.json"):
        found = checks(rungs, config, quantizations)
        # By which chat.py knows whether a bundle is the one that was judged.
        files = [f"{name}.{kind}" for name in quantizations for kind in BUNDLE_KINDS]
        digests = {file: rungs["{1}_{0}".format(*file.rsplit(".", 1))]["sha256"] for file in files}
        content = verdicts(found) | {"bundles": digests}
        summary = summarize(train, rungs, quantizations, content["verdict"])
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
