"""What the stages `measure_float` and `measure` share: the test set, and where things are."""

from pathlib import Path

from gemma_finetune.evaluation import dataset
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import made_by, read_json, read_jsonl, require

TEST = Path("data/formatted/test.jsonl")
BASE, ADAPTER, MERGED = Path("models/base"), Path("models/lora.npz"), Path("models/merged")
TFLITE, BUNDLE, MEASURED = Path("models/tflite"), Path("models/bundle"), Path("models/measured")
HIDDEN = MEASURED / "merged.safetensors"


def head_bytes() -> int:
    """The size of the merged model's embedding, which is also the output head, in float32."""
    sizes = read_json(MERGED / "config.json")
    return 4 * sizes["vocab_size"] * sizes["hidden_size"]


def load_test_set(config: EvaluateConfig, tokenizer: GemmaTokenizer) -> dataset.TestSet:
    """What is measured of the test split."""
    rows = list(read_jsonl(require(TEST, "format")))
    if not rows:
        raise UserError(
            f"{TEST} is empty; raise data.test_fraction or mark rows with `split: test`"
        )
    with made_by("merge", MERGED / "config.json"):
        window = read_json(require(MERGED / "config.json", "merge"))["sliding_window"]
    with made_by("format", TEST):
        chosen = dataset.select(rows, config.max_examples)
        return dataset.build_test_set(
            chosen, tokenizer, window, config.max_positions, config.max_answers, found=len(rows)
        )
