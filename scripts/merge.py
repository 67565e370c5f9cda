"""Folds the adapter into the base and proves that nothing was lost.

models/base, models/lora.npz, data/formatted/train.jsonl (prompts of the proof) -> models/merged

    python scripts/merge.py
"""

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gemma_finetune.export.merge import (
    fake_quantized_model,
    merge_lora_weights,
    read_tensors,
    target_shapes,
)
from gemma_finetune.export.merge_proof import prove_merge
from gemma_finetune.formats.chat_template import chat_template
from gemma_finetune.formats.hf_layout import finish_layout
from gemma_finetune.formats.lora_file import Adapter, check_fits, load_lora
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, made_by, read_jsonl, require
from gemma_finetune.utils.progress import working

BASE = Path("models/base")
LORA = Path("models/lora.npz")
MERGED = Path("models/merged")
TRAIN = Path("data/formatted/train.jsonl")
PROMPTS, PROMPT_TOKENS = 4, 64


def main() -> None:
    require(BASE, "base")
    adapter = load_lora(LORA)
    check_fits(LORA, adapter, BASE, target_shapes(BASE, adapter.config.targets))
    prompts = read_prompts()
    with aside(MERGED) as temporary:
        with working("merge the adapter into the base"):
            write_merged(temporary, adapter)
        proof = prove_merge(BASE, temporary, adapter, prompts)

    adapter_difference, base_difference = proof["merged_vs_lora"], proof["merged_vs_base"]
    print(f"{len(adapter.modules)} weights changed -> {MERGED}")
    print(
        f"relative logit difference: adapter {adapter_difference:.1e}, base {base_difference:.1e}"
    )


def read_prompts() -> list[list[int]]:
    """Token ids of the first training rows, for the proof."""
    tokenizer = GemmaTokenizer(BASE / "tokenizer.model")
    prompts = []
    rows = islice(read_jsonl(require(TRAIN, "format")), PROMPTS)
    with made_by("format", TRAIN):
        for row in rows:
            ids, _ = tokenizer.encode_conversation(row["text"])
            prompts.append(ids[:PROMPT_TOKENS])
    return prompts


def write_merged(directory: Path, adapter: Adapter) -> None:
    """The merged model in Hugging Face layout, float32, with chat template and all stop tokens.

    UserError if the adapter leaves one of its weights unchanged.
    """
    directory.mkdir()
    tensors = read_tensors(BASE)
    merged = merge_lora_weights(tensors, adapter)

    unchanged = []
    for module in adapter.modules:
        name = f"{module}.weight"
        if np.array_equal(tensors[name], merged[name]):
            unchanged.append(module)
    if unchanged:
        raise UserError(
            f"{LORA}: changes nothing in {unchanged[0]} (and {len(unchanged) - 1} more); "
            "train longer"
        )

    if adapter.config.quantization_aware:
        merged = fake_quantized_model(merged)
    save_file(merged, directory / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "tokenizer.model"):
        shutil.copyfile(BASE / name, directory / name)
    template = chat_template(GemmaTokenizer(directory / "tokenizer.model").has_functions)
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    finish_layout(directory, dtype="float32")


if __name__ == "__main__":
    run(main)
