"""A base small enough to pretrain here: a Gemma 3 of about a million parameters, from a seed.

Nothing is downloaded. It learns the text of `corpus.py`, which contains nothing of the assistant's
task, and is written like any other base.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gemma_finetune.base.corpus import Turns, conversations
from gemma_finetune.base.preset import export_backbone
from gemma_finetune.base.tiny_tokenizer import train_tokenizer
from gemma_finetune.config import END_OF_TURN, START_OF_TURN
from gemma_finetune.formats.hf_layout import finish_layout
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.config import ModelConfig, TinyConfig
from gemma_finetune.models.keras_private import Muon
from gemma_finetune.models.library import keras, keras_hub
from gemma_finetune.training.data_pipeline import Batches, PackedRows, pack
from gemma_finetune.training.examples import Example
from gemma_finetune.training.model import SupervisedModel

# The proportions of Gemma 3 270M: one key/value head, a head dimension that isn't hidden / heads,
# six layers so that five attend locally and one globally.
ARCHITECTURE = {
    "num_layers": 6,
    "hidden_dim": 128,
    "intermediate_dim": 256,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 128,
    "sliding_window_size": 64,
    "use_sliding_window_attention": True,
    "use_query_key_norm": True,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "image_size": 0,
}
VOCABULARY_SIZE = 2048
TOKENIZER_CONVERSATIONS = 20_000
ROW_LENGTH = 128  # tokens, packed with conversations; longer conversations are cut
BATCH_SIZE = 8  # rows
USER_SHARE = 0.1  # of a request's tokens that are learned too
ECHO_SHARE = 0.1  # of the conversations that repeat tokens drawn from the whole vocabulary


def build_tiny(directory: Path, config: ModelConfig) -> None:
    """Writes the pretrained base to `directory` in Hugging Face layout, float32.

    The same config always gives the same bytes.
    """
    keras.utils.set_random_seed(config.seed)
    directory.mkdir(parents=True)

    sample = islice(conversations(config.seed), TOKENIZER_CONVERSATIONS)
    vocabulary = train_tokenizer(map(render, sample), VOCABULARY_SIZE)
    (directory / "tokenizer.model").write_bytes(vocabulary)
    tokenizer = GemmaTokenizer(directory / "tokenizer.model")

    backbone = keras_hub.models.Gemma3Backbone(
        vocabulary_size=tokenizer.vocabulary_size, dtype="float32", **ARCHITECTURE
    )
    pretrain(backbone, tokenizer, config.tiny, config.seed)
    export_backbone(backbone, directory)
    finish_layout(directory, "float32")


def render(turns: Turns) -> str:
    """Turns in Gemma's chat template. Plain text, whose request is empty, stays as it is."""
    return "".join(_turn(request, answer) if request else answer for request, answer in turns)


def _turn(request: str, answer: str) -> str:
    return (
        f"{START_OF_TURN}user\n{request}{END_OF_TURN}\n"
        f"{START_OF_TURN}model\n{answer}{END_OF_TURN}\n"
    )


def pretrain(
    backbone: keras.Model, tokenizer: GemmaTokenizer, config: TinyConfig, seed: int
) -> None:
    """Trains every weight of `backbone` for `steps` batches of the corpus.

    With Muon, which needs half as many steps as AdamW here.
    """
    rows = corpus_rows(tokenizer, config.steps * BATCH_SIZE, seed)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        config.steps,
        alpha=0.02,
        warmup_target=config.learning_rate,
        warmup_steps=min(50, config.steps - 1),
    )
    optimizer = Muon(schedule, adam_lr_ratio=0.5, adam_beta_2=0.98, global_clipnorm=1.0)

    model = SupervisedModel(backbone)
    model.compile(optimizer, jit_compile=True)
    batches = Batches(rows, BATCH_SIZE, seed=seed)
    model.fit(batches, shuffle=False, verbose=0, callbacks=[Progress(config.steps)])


def corpus_rows(tokenizer: GemmaTokenizer, count: int, seed: int) -> PackedRows:
    """`count` packed rows of the corpus."""
    rng, stream = np.random.default_rng(seed), conversations(seed)
    examples, tokens = [], 0
    while tokens < count * ROW_LENGTH:
        if rng.random() < ECHO_SHARE:
            ids, answers = echo(tokenizer, rng)
        else:
            ids, answers = spoken(tokenizer, next(stream))

        # Plain text has no answer: all of it is learned.
        share = USER_SHARE if answers.any() else 1.0
        supervised = answers | (rng.random(len(ids)) < share)
        examples.append(Example(ids, supervised))
        tokens += len(ids)

    packed = pack(examples, ROW_LENGTH)
    return replace(packed, assigned=packed.assigned[:count])


def spoken(tokenizer: GemmaTokenizer, turns: Turns) -> tuple[np.ndarray, np.ndarray]:
    """(ids (T,), which of them belong to the answers (T,)) of a conversation."""
    ids, answers = tokenizer.encode_conversation(render(turns))
    return np.array(ids[:ROW_LENGTH]), np.array(answers[:ROW_LENGTH])


def echo(tokenizer: GemmaTokenizer, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """As `spoken`, for a request of random tokens and an answer that repeats them.

    The corpus never uses many of the vocabulary's tokens. Without this, their embeddings would be
    random, and an adapter, which leaves embeddings as they are, could hardly make the model say
    them.
    """
    first = max(tokenizer.start_of_turn, tokenizer.end_of_turn) + 1
    drawn = rng.integers(first, tokenizer.vocabulary_size, rng.integers(4, 16)).tolist()
    before = tokenizer.encode(f"{START_OF_TURN}user\n")
    between = tokenizer.encode(f"{END_OF_TURN}\n{START_OF_TURN}model\n")
    after = tokenizer.encode(f"{END_OF_TURN}\n")
    ids = [tokenizer.bos, *before, *drawn, *between, *drawn, *after]

    # The answer is the second `drawn` and the end of turn after it.
    position = np.arange(len(ids))
    start = len(ids) - len(after) - len(drawn)
    return np.array(ids), (position >= start) & (position <= start + len(drawn))


class Progress(keras.callbacks.Callback):
    """A line on the terminal: steps done, time left, loss."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.bar = tqdm(total=self.steps, unit="step", desc="pretrain the tiny base", mininterval=1)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}", refresh=False)
        self.bar.update()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.close()
