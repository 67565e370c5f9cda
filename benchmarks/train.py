"""LoRA training of this project, of stock keras-hub and of PEFT on torch: one pass over the same
conversations.

Each runs in a process of its own, one after the other: supervised and all real tokens a second (by
CPU time, too, which other work on the machine disturbs less), the share of padding, the first step,
which compiles and is not part of the pass, peak memory (of the GPU where there is one, else of the
process), and the mean loss. All compute on the GPU where there is one. Rank 8 on q_proj and v_proj,
AdamW. Ours packs rows; stock keras-hub pads every row to the longest; PEFT pads to the
longest of a batch of conversations sorted by length.

    python benchmarks/train.py --base models/base --rows data/formatted/train.jsonl --count 200
    # Made up, 6 turns of about 100 tokens each
    python benchmarks/train.py --base models/base --long 200

PEFT needs `pip install peft`; `--base` is what the base stage writes.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

RUNS = [
    f"{name} {dtype}" for dtype in ("bfloat16", "float32") for name in ("ours", "stock", "peft")
]
COLUMNS = (
    "supervised tok/s",
    "tok/s",
    "tok/CPU s",
    "padding",
    "first step s",
    "peak GB",
    "loss",
)


class Batch(NamedTuple):
    """What a step takes, and how many tokens of it are supervised, real, and with padding."""

    data: Any
    supervised: int
    tokens: int
    places: int


# A step, which returns the loss, and its batches
Trainer = tuple[Callable[[Any], float], list[Batch]]


def main():
    args = parse_arguments()
    if args.only:
        return print(json.dumps(measure(args)))
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---:" * len(COLUMNS) + "|", flush=True)
    for run in args.runs:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--only", run], capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{run}:\n{done.stderr}")
        result = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {run} | " + " | ".join(f"{result[column]:.3g}" for column in COLUMNS) + " |",
            flush=True,
        )


def measure(args):
    name, dtype = args.only.split()
    step, batches = {"ours": ours, "stock": stock, "peft": peft}[name](
        args, dtype, load_examples(args)
    )
    start = time.perf_counter()
    step(batches[0].data)
    first = time.perf_counter() - start

    start, cpu_start = time.perf_counter(), time.process_time()
    losses = [step(batch.data) for batch in batches]
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    supervised = sum(batch.supervised for batch in batches)
    tokens = sum(batch.tokens for batch in batches)
    places = sum(batch.places for batch in batches)
    figures = (
        supervised / seconds,
        tokens / seconds,
        tokens / cpu_seconds,
        1 - tokens / places,
        first,
        peak_memory_gb(name),
        sum(loss * batch.supervised for loss, batch in zip(losses, batches, strict=True))
        / supervised,
    )
    return dict(zip(COLUMNS, figures, strict=True))


def peak_memory_gb(name):
    """Of the device that computes."""
    if name == "peft":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 1e9
    from gemma_finetune.utils import device, machine

    peak = {"host": machine.peak_memory() / 1e9} if name == "peft" else device.peak_by_device()
    return peak.get("device", peak["host"])


def load_examples(args):
    from gemma_finetune.training.examples import tokenize_lines
    from gemma_finetune.utils.files import read_jsonl

    rows = list(read_jsonl(args.rows)) if args.rows else list(long_chats(args.long))
    random.Random(0).shuffle(rows)
    rows = rows[: args.count]
    lines = [(str(args.rows), json.dumps(row).encode()) for row in rows]
    return list(tokenize_lines(lines, str(args.base / "tokenizer.model"), args.length))


def long_chats(count):
    """Conversations of words drawn at random: requests of about 25 tokens, answers of about 75."""
    rng = random.Random(0)
    words = (
        "the house is warm and light when we open every window after rain in our small green garden"
    ).split()
    for number in range(count):
        text = ""
        for _ in range(6):
            question = " ".join(rng.choices(words, k=rng.randint(15, 30)))
            answer = " ".join(rng.choices(words, k=rng.randint(50, 90)))
            text += f"<start_of_turn>user\n{question}<end_of_turn>\n"
            text += f"<start_of_turn>model\n{answer}<end_of_turn>\n"
        yield {"id": str(number), "text": text}


def ours(args, dtype, examples) -> Trainer:
    from gemma_finetune.utils.device import prepare_training
    from gemma_finetune.utils.machine import keep_freed_memory

    prepare_training((args.base / "model.safetensors").stat().st_size)
    from gemma_finetune.models.config import LoRAConfig
    from gemma_finetune.models.loader import load_gemma_model
    from gemma_finetune.models.lora import apply_lora
    from gemma_finetune.training.data_pipeline import Batches, pack
    from gemma_finetune.training.model import SupervisedModel

    backbone = load_gemma_model(args.base, dtype=dtype)
    apply_lora(
        backbone,
        LoRAConfig(
            rank=8,
            alpha=16,
            use_rslora=False,
            dropout=0.0,
            targets=("q_proj", "v_proj"),
            quantization_aware=False,
        ),
    )
    keep_freed_memory()
    model = SupervisedModel(backbone)
    model.compile(optimizer(), jit_compile=True)
    packed = Batches(pack(examples, args.length), max(args.tokens // args.length, 1), seed=0)
    batches = []
    for index in range(len(packed)):
        data = x, _, weights = packed[index]
        real = int((x["segment_ids"] > 0).sum())
        batches.append(Batch(data, int(weights.sum()), real, x["token_ids"].size))
    return lambda data: float(model.train_on_batch(*data, return_dict=True)["loss"]), batches


def optimizer():
    import keras

    return keras.optimizers.AdamW(1e-4, weight_decay=0.01)


def stock(args, dtype, examples) -> Trainer:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    import keras_hub
    import numpy as np

    from gemma_finetune.models.loader import load_gemma_model

    backbone = load_gemma_model(args.base, dtype=dtype)
    backbone.enable_lora(8)
    model = keras_hub.models.Gemma3CausalLM(backbone=backbone, preprocessor=None)
    model.compile(
        optimizer(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    longest = max(len(example.ids) for example in examples)
    size = max(args.tokens // longest, 1)
    batches = []
    for batch in batches_of(examples, size):
        ids, supervised = (
            np.stack([np.pad(e[i], (0, longest + 1 - len(e.ids))) for e in batch]) for i in (0, 1)
        )
        missing = [(0, size - len(batch)), (0, 0)]  # one shape, compiled once
        ids, supervised = np.pad(ids, missing), np.pad(supervised, missing)
        lengths = [len(e.ids) for e in batch] + [0] * (size - len(batch))
        mask = np.arange(longest) < np.array(lengths)[:, None]
        x, weights = (
            {"token_ids": ids[:, :-1], "padding_mask": mask},
            supervised[:, 1:].astype("float32"),
        )
        data = x, ids[:, 1:], weights
        batches.append(Batch(data, int(weights.sum()), int(mask.sum()), mask.size))

    def step(data):
        x, labels, weights = data
        loss = model.train_on_batch(x, labels, sample_weight=weights, return_dict=True)["loss"]
        return float(loss * weights.size / weights.sum())

    return step, batches


def peft(args, dtype, examples) -> Trainer:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(args.base, dtype=getattr(torch, dtype))
    model = get_peft_model(
        model.to(device), LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    ).train()
    adam = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.01
    )
    average = sum(len(example.ids) for example in examples) / len(examples)
    size = max(round(args.tokens / average), 1)
    batches = []
    for batch in batches_of(sorted(examples, key=lambda example: len(example.ids)), size):
        ids, labels = (
            torch.zeros(len(batch), len(batch[-1].ids), dtype=torch.long) for _ in range(2)
        )
        mask = torch.zeros_like(ids)
        for row, example in enumerate(batch):
            given, supervised = (
                torch.tensor(example.ids).long(),
                torch.tensor(example.supervised).bool(),
            )
            ids[row, : len(given)], mask[row, : len(given)] = given, 1
            labels[row] = -100
            labels[row, : len(given)] = torch.where(supervised, given, -100)
        counts = int((labels[:, 1:] >= 0).sum()), int(mask.sum()), mask.numel()
        batches.append(Batch((ids, mask, labels), *counts))
    random.Random(0).shuffle(batches)

    def step(data):
        ids, mask, labels = (array.to(device) for array in data)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        adam.step()
        adam.zero_grad()
        return float(loss)

    return step, batches


def batches_of(examples, size):
    return [examples[i : i + size] for i in range(0, len(examples), size)]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--rows", type=Path, help="formatted conversations")
    data.add_argument("--long", type=int, metavar="COUNT", help="made-up long conversations")
    parser.add_argument(
        "--length", type=int, default=128, help="tokens of a packed row; longer conversations fail"
    )
    parser.add_argument("--tokens", type=int, default=1024, help="about so many a step")
    parser.add_argument("--count", type=int, help="how many conversations (default: all)")
    parser.add_argument(
        "--runs", nargs="+", choices=RUNS, default=RUNS, metavar="RUN", help=", ".join(RUNS)
    )
    parser.add_argument("--only", choices=RUNS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
