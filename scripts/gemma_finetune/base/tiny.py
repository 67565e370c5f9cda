"""A base small enough to pretrain here: a Gemma 3 of about a million parameters, from a seed, with
no download.

It learns the text of `corpus.py`, which holds nothing of the assistant's task, and is written as
any other base is.
"""

from itertools import islice
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from gemma_finetune.base.corpus import conversations
from gemma_finetune.base.preset import export_backbone
from gemma_finetune.base.tiny_tokenizer import train_tokenizer
from gemma_finetune.config import END_OF_TURN, START_OF_TURN
from gemma_finetune.formats.hf_layout import finish_layout
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.config import ModelConfig, TinyConfig
from gemma_finetune.models.loader import keras_hub
from gemma_finetune.training.data_pipeline import Batches, Example, PackedRows, pack
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
ROW_LENGTH = 128  # tokens, packed with conversations; longer ones are cut
BATCH_SIZE = 8  # rows
USER_SHARE = 0.1  # of a request's tokens are learned too
ECHO_SHARE = 0.1  # of the conversations repeat tokens drawn from the whole vocabulary


def build_tiny(directory: Path, config: ModelConfig) -> None:
    """Writes the pretrained base to `directory` in Hugging Face layout, float32. Same config, same
    bytes.
    """
    keras.utils.set_random_seed(config.seed)
    directory.mkdir(parents=True)
    sample = islice(conversations(config.seed), TOKENIZER_CONVERSATIONS)
    (directory / "tokenizer.model").write_bytes(
        train_tokenizer(map(render, sample), VOCABULARY_SIZE)
    )
    tokenizer = GemmaTokenizer(directory / "tokenizer.model")
    backbone = keras_hub.models.Gemma3Backbone(
        vocabulary_size=tokenizer.vocabulary_size, dtype="float32", **ARCHITECTURE
    )
    pretrain(backbone, tokenizer, config.tiny, config.seed)
    export_backbone(backbone, directory)
    finish_layout(directory, "float32")


def render(turns: list[tuple[str, str]]) -> str:
    """Turns in Gemma's template; plain text, whose request is empty, as it is."""
    return "".join(_turn(request, answer) if request else answer for request, answer in turns)


def _turn(request, answer):
    return f"{START_OF_TURN}user\n{request}{END_OF_TURN}\n{START_OF_TURN}model\n{answer}{END_OF_TURN}\n"


def pretrain(backbone, tokenizer: GemmaTokenizer, config: TinyConfig, seed: int) -> None:
    """Trains every weight of `backbone` for `steps` batches of the corpus."""
    rows = corpus_rows(tokenizer, config.steps * BATCH_SIZE, seed)
    model = SupervisedModel(backbone)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        config.steps,
        alpha=0.02,
        warmup_target=config.learning_rate,
        warmup_steps=min(50, config.steps - 1),
    )
    model.compile(
        Muon(schedule, adam_lr_ratio=0.5, adam_beta_2=0.98, global_clipnorm=1.0), jit_compile=True
    )
    model.fit(
        Batches(rows, BATCH_SIZE, seed=seed),
        shuffle=False,
        verbose=0,
        callbacks=[Progress(config.steps)],
    )


def corpus_rows(tokenizer: GemmaTokenizer, count: int, seed: int) -> PackedRows:
    """`count` packed rows of the corpus."""
    rng, stream = np.random.default_rng(seed), conversations(seed)
    examples, tokens = [], 0
    while tokens < count * ROW_LENGTH:
        ids, answers = (
            echo(tokenizer, rng) if rng.random() < ECHO_SHARE else spoken(tokenizer, next(stream))
        )
        heard = (
            1.0 if not answers.any() else USER_SHARE
        )  # plain text has no answer: all of it is learned
        examples.append(Example(ids, answers | (rng.random(len(ids)) < heard)))
        tokens += len(ids)
    return PackedRows(*(field[:count] for field in pack(examples, ROW_LENGTH)))


def spoken(
    tokenizer: GemmaTokenizer, turns: list[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """(ids, which of them are the answers') of a conversation."""
    ids, answers = tokenizer.encode_conversation(render(turns))
    return np.array(ids[:ROW_LENGTH]), np.array(answers[:ROW_LENGTH])


def echo(tokenizer: GemmaTokenizer, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """As `spoken`, of tokens that make no words, said again.

    The corpus never says many of the vocabulary's tokens. The embedding of such a token points
    nowhere, and an adapter, which leaves embeddings as they are, could hardly make the model say
    it.
    """
    first = max(tokenizer.start_of_turn, tokenizer.end_of_turn) + 1
    drawn = rng.integers(first, tokenizer.vocabulary_size, rng.integers(4, 16)).tolist()
    before, between, after = (
        tokenizer.encode(text)
        for text in (
            f"{START_OF_TURN}user\n",
            f"{END_OF_TURN}\n{START_OF_TURN}model\n",
            f"{END_OF_TURN}\n",
        )
    )
    ids = [tokenizer.bos, *before, *drawn, *between, *drawn, *after]
    at = np.arange(len(ids))
    start = len(ids) - len(after) - len(drawn)
    return np.array(ids), (at >= start) & (at <= start + len(drawn))


class Muon(keras.optimizers.Muon):
    """Muon (Jordan, 2024) for every matrix, each attention head's apart; AdamW for the embedding
    and the norms.

    Twice as fast as AdamW here, step for step. Keras's own leaves attention's three-dimensional
    kernels to AdamW.
    """

    def _should_use_adamw(self, variable):
        return len(variable.shape) < 2 or "embedding" in variable.path


class Progress(keras.callbacks.Callback):
    """A line on the terminal: steps done, time left, loss."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs=None):
        self.bar = tqdm(total=self.steps, unit="step", desc="pretrain the tiny base", mininterval=1)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}", refresh=False)
        self.bar.update()

    def on_train_end(self, logs=None):
        self.bar.close()
