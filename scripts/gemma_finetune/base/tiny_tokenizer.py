"""A SentencePiece tokenizer with Gemma's control pieces, trained on the tiny base's own words."""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import sentencepiece

from gemma_finetune.config import BOS, END_OF_TURN, EOS, PAD, START_OF_TURN, UNK

# JSON's punctuation in one piece each, so that a record is short; and the space as a piece of its
# own, so that a word is the same piece wherever it stands, which is what copying it from a request
# into a record needs.
GLUE = [
    '{"',
    '": ',
    '": "',
    '": {"',
    '", "',
    ', "',
    '"}',
    '"}}',
    "}}",
    '": ["',
    '"]}',
    '": {}}',
    " ",
]
PRINTABLE = " ".join(map(chr, range(33, 127)))


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> bytes:
    """The model file of a BPE tokenizer of at most `vocabulary_size` pieces. Same texts, same
    bytes.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_words(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece=PAD, eos_piece=EOS, bos_piece=BOS, unk_piece=UNK,
        user_defined_symbols=[START_OF_TURN, END_OF_TURN, "\n", *(glue.replace(" ", "\u2581") for glue in GLUE)],
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
    """The words of `texts`, the frequent ones more often but not in proportion: rare ones are to be
    one piece too.
    """
    yield PRINTABLE
    counts = Counter(word for text in texts for word in re.findall(r"[A-Za-z']+", text))
    for word, count in sorted(counts.items()):
        if count >= 3:
            yield from [word] * round(count**0.25)
