"""Answer a file of conversations: INPUT.jsonl -> OUTPUT.jsonl, one answer a row, in the same order.

    python scripts/generate.py data/formatted/test.jsonl answers.jsonl
    python scripts/generate.py questions.jsonl answers.jsonl --backend keras

Reads rows with `messages` (ChatML) or else `text` ("<start_of_turn>..."), a model, and `generate`
of params.yaml. `tools` of a row are functions that the model may call. An answer at the end of a
row becomes its `reference`. The same command resumes a run that was stopped. It refuses to append
to answers made with different settings, and names the setting.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from gemma_finetune.config import load_section
from gemma_finetune.inference.backend import DEFAULT_MODEL, open_backend
from gemma_finetune.inference.batch import (
    EXAMPLE,
    UnfinishedOutput,
    read_requests,
    refuse_as_output,
    refuse_too_long,
)
from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import sha256


def main() -> None:
    args = parse_arguments()
    config = load_section("generate", GenerateConfig)
    refuse_as_output(args.output, args.input)
    requests = read_requests(args.input)
    with open_backend(args.backend, args.model, config, args.tokenizer) as backend:
        refuse_too_long(requests, backend, args.input)
        output = UnfinishedOutput(args.output, settings(config, args.input, backend.weights))
        left = requests[output.rows :]
        for request in tqdm(left, initial=output.rows, total=len(requests), unit="row"):
            pieces = backend.generate(
                request.messages, config.sampler(), config.max_tokens, request.tools
            )
            output.append(request.answered("".join(pieces)))
        output.finish()
    print(f"{args.output}: {len(requests)} answers by {backend.description}")


def settings(config: GenerateConfig, questions: str, weights: Path) -> dict:
    """What the answers depend on: parameters, and the first digits of the files' SHA-256."""
    found = {f"generate.{key}": value for key, value in asdict(config).items() if key != "threads"}
    found["the input"] = sha256(questions)[:12]
    found["the model"] = sha256(weights)[:12]
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Answer a file of conversations.")
    parser.add_argument("input", metavar="INPUT.jsonl", help=f"a row is {EXAMPLE}")
    parser.add_argument("output", metavar="OUTPUT.jsonl", help="the same rows with answers")
    parser.add_argument(
        "--backend", choices=sorted(DEFAULT_MODEL), help="default: what --model is, or bundle"
    )
    parser.add_argument(
        "--model", metavar="PATH", help="a .task, .litertlm, .tflite or Hugging Face directory"
    )
    parser.add_argument(
        "--tokenizer", metavar="PATH", help="tokenizer.model for a .tflite of another pipeline"
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main, arguments=None)
