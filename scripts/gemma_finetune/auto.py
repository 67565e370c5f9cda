"""What `auto` in params.yaml becomes: settings that follow from the base and from the data.

Pure rules, the same on every machine: none looks at this machine's memory or device.

- A base under SMALL parameters learns at a high rate in float32, in small steps. A real Gemma 3
  learns at 0.0002 in bfloat16.
- The sequence length keeps 99 % of the rows; the cache holds two such conversations and an answer,
  and the evaluation's probe past the sliding window.
- A step reads about as many tokens whatever the row length, in as many forward passes as
  `train.memory_gb` asks for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_finetune.config import AUTO
from gemma_finetune.utils.rounding import round_up

# The parameters that may be `auto`, by section. Two more may be, and are chosen elsewhere:
# generate.dtype by the chat, and train.sequence_length by `format`, which hands it on.
KEYS = {
    "model": ("dtype",),
    "train": ("learning_rate", "sequence_length", "batch_size", "gradient_accumulation_steps"),
    "export": ("cache_length", "prefill_lengths", "calibration_tokens"),
    "evaluate": ("max_positions", "max_answers", "max_tokens"),
}

SMALL = 50e6  # parameters
KEPT_ROWS = 0.99  # share of the rows that an automatic sequence length keeps
SHORTEST_ROW, LONGEST_ROW = 128, 2048  # tokens
PREFILL_LENGTHS = (8, 128, 512, 2048)
CALIBRATION_TOKENS = 1024  # of training rows, for AWQ's scales
UNSCALED = {"int8", "int4_embedding"}  # recipes with projections of 8 bits, which need no scales
PAST_WINDOW = 32  # tokens of the evaluation's probe beyond the sliding window
# How much of the test split is measured: of a real Gemma, what two cores do in about 20 minutes,
# even where no model ends its answers by itself.
SMALL_POSITIONS, SMALL_ANSWERS = 6000, 300
MOST_POSITIONS, MOST_ANSWERS, MOST_ANSWER_TOKENS = 3000, 150, 6144
SHORTEST_ANSWER = 96  # tokens that an answer in the evaluation may have at least
USUAL_ANSWERS = 0.95  # share of the test answers that the evaluation lets a model write whole


@dataclass(frozen=True)
class Base:
    """What the rules ask of a base: sizes from its config.json."""

    parameters: int
    layers: int
    width: int  # hidden and intermediate size together
    max_positions: int
    sliding_window: int

    @property
    def is_small(self) -> bool:
        return self.parameters < SMALL


@dataclass(frozen=True)
class Lengths:
    """What the rules ask of the data, in tokens: of a row in training, and of the test answers.

    usual_answer: what the share USUAL_ANSWERS of them has at most. One answer of 2,000 tokens must
    not take the time of all others.
    """

    sequence_length: int
    longest_answer: int
    usual_answer: int


def read_base(config: Mapping[str, Any]) -> Base:
    """The sizes in a config.json in Hugging Face layout."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"] + config["num_key_value_heads"]
    attention = 2 * hidden * heads * config["head_dim"]
    layer = attention + 3 * hidden * intermediate
    layers = config["num_hidden_layers"]
    return Base(
        parameters=config["vocab_size"] * hidden + layers * layer,
        layers=layers,
        width=hidden + intermediate,
        max_positions=config["max_position_embeddings"],
        sliding_window=config["sliding_window"],
    )


def sequence_length(tokens: Sequence[int], share: float = KEPT_ROWS) -> int:
    """The length that keeps this share of rows of so many `tokens`, rounded up; at most 2,048."""
    return min(max(round_up(covering(tokens, share), 32), SHORTEST_ROW), LONGEST_ROW)


def covering(tokens: Sequence[int], share: float) -> int:
    """The least number that this share of `tokens` does not exceed; 0 without any."""
    ordered = sorted(tokens)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0


def choose(
    params: Mapping[str, Mapping[str, Any]], base: Base, lengths: Lengths
) -> dict[str, dict[str, Any]]:
    """The parameters of KEYS, by section, with a value in place of each `auto`."""
    chosen = {
        section: {key: params[section][key] for key in keys} for section, keys in KEYS.items()
    }
    train, export, evaluate = chosen["train"], chosen["export"], chosen["evaluate"]
    rows = lengths.sequence_length
    if train["sequence_length"] == AUTO:
        train["sequence_length"] = rows
    if chosen["model"]["dtype"] == AUTO:
        chosen["model"]["dtype"] = "float32" if base.is_small else "bfloat16"
    if train["learning_rate"] == AUTO:
        train["learning_rate"] = 0.015 if base.is_small else 0.0002
    memory = tokens_in_memory(base, chosen["model"]["dtype"], params["train"]["memory_gb"])
    _choose_batch(train, base, rows, memory)

    if evaluate["max_tokens"] == AUTO:
        evaluate["max_tokens"] = _room_for(lengths.usual_answer)
    _choose_budget(evaluate, base)
    if export["cache_length"] == AUTO:  # not by evaluate.max_tokens: it must not change the model
        answer = _room_for(lengths.longest_answer)
        room = round_up(max(2 * rows + answer, shortest_cache(base, rows)), 256)
        export["cache_length"] = min(room, base.max_positions)
    if export["prefill_lengths"] == AUTO:
        fitting = [length for length in PREFILL_LENGTHS if length <= max(rows, 128)]
        cache = export["cache_length"]
        export["prefill_lengths"] = [length for length in fitting if length < cache]
    if export["calibration_tokens"] == AUTO:
        needs_none = UNSCALED.issuperset(params["export"]["quantizations"])
        export["calibration_tokens"] = 0 if needs_none else CALIBRATION_TOKENS
    return chosen


def _room_for(answer: int) -> int:
    """Tokens in which a model may give an answer of so many in other words."""
    return max(round_up(answer * 3 // 2, 32), SHORTEST_ANSWER)


def _choose_budget(evaluate: dict[str, Any], base: Base) -> None:
    """How much the evaluation measures, where it is `auto`. `max_tokens` is chosen."""
    if evaluate["max_positions"] == AUTO:
        evaluate["max_positions"] = SMALL_POSITIONS if base.is_small else MOST_POSITIONS
    if evaluate["max_answers"] == AUTO:
        affordable = max(min(MOST_ANSWERS, MOST_ANSWER_TOKENS // evaluate["max_tokens"]), 1)
        evaluate["max_answers"] = SMALL_ANSWERS if base.is_small else affordable


def shortest_cache(base: Base, rows: int) -> int:
    """The cache that the evaluation needs: for a whole row, and past the sliding window."""
    return max(rows, base.sliding_window + PAST_WINDOW)


def _choose_batch(train: dict[str, Any], base: Base, rows: int, memory: float) -> None:
    """Rows for one forward pass, and passes for one step, where they are `auto`.

    memory: how many tokens of a forward pass fit.
    """
    in_step = max((640 if base.is_small else 2048) // rows, 1)  # rows
    in_memory = max(int(memory) // rows, 1)
    passes = train["gradient_accumulation_steps"]
    if train["batch_size"] == AUTO:
        train["batch_size"] = min(in_step, in_memory)
    if passes == AUTO:
        train["gradient_accumulation_steps"] = max(round(in_step / train["batch_size"]), 1)


def training_memory(base: Base, dtype: str, tokens: int) -> float:
    """Bytes that training takes with so many tokens a forward pass, roughly.

    A fit to the tiny base and to the 270M with 512 and 2,048 tokens (benchmarks/README.md).
    """
    return fixed_memory(base, dtype) + tokens * _memory_of_a_token(base)


def tokens_in_memory(base: Base, dtype: str, memory_gb: float) -> float:
    """How many tokens a forward pass may have to stay in so much memory."""
    free = memory_gb * 1e9 - fixed_memory(base, dtype)
    return free / _memory_of_a_token(base)


def fixed_memory(base: Base, dtype: str) -> float:
    """Bytes without activations: the libraries, the weights, and a chunk of logits."""
    weight = 2 if dtype == "bfloat16" else 4
    return 1.2e9 + 3.4 * weight * base.parameters


def _memory_of_a_token(base: Base) -> float:
    """Bytes of the activations that the backward pass keeps for a token."""
    return 16.0 * base.layers * base.width
