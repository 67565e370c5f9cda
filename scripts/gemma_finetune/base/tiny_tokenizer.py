"""A SentencePiece tokenizer with Gemma's control pieces, trained on the tiny base's own words."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import sentencepiece

from gemma_finetune.config import BOS, END_OF_TURN, EOS, PAD, START_OF_TURN, UNK

# JSON's punctuation, one piece each, so that a record is short. And the space as its own piece, so
# that a word is the same piece wherever it stands; copying it from a request needs that.
GLUE = [
    '{"', '": ', '": "', '": {"', '", "', ', "', '"}', '"}}', "}}", '": ["', '"]}', '": {}}', " ",
]  # fmt: skip
PRINTABLE = " ".join(map(chr, range(33, 127)))


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> bytes:
    """The model file of a BPE tokenizer of at most `vocabulary_size` pieces.

    The same texts always give the same bytes.
    """
    glue = [text.replace(" ", "\u2581") for text in GLUE]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_words(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece=PAD, eos_piece=EOS, bos_piece=BOS, unk_piece=UNK,
        user_defined_symbols=[START_OF_TURN, END_OF_TURN, "\n", *glue],
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def _words(texts: Iterable[str]) -> Iterator[str]:
    """The words of `texts`; a frequent word more often, but not in proportion to its count.

    Rare words should become one piece, too.
    """
    yield PRINTABLE
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(re.findall(r"[A-Za-z']+", text))
    for word, count in sorted(counts.items()):
        if count >= 3:
            yield from [word] * round(count**0.25)
