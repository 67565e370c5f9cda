"""Which answers a row wants to be trained on: the flags and weights of turns and of whole rows.

Only 0 and 1 (or false and true, also as text) can be honoured: an answer is trained on or not.
Which keys say so is told by their words: `train_on_turn`, `excludeFromLoss`, `assistant-mask`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.flags import to_flag, to_number, to_word
from gemma_finetune.data.key_words import all_in, split_words, words
from gemma_finetune.data.rejection import Rejection

# What is done to a text that is trained on.
_TRAINING = split_words(
    "loss train trained training trainable learn learnable supervise supervised "
    "gradient gradients grad backprop"
)
_WEIGHT = split_words("weight weights weighting scale factor multiplier coef coefficient")
_NOT = split_words(
    "not no non dont never without hide hidden disable disabled stop zero exclude excluded "
    "ignore ignored skip skipped omit omitted drop dropped masked"
)
_LEFT_OUT = split_words("exclude excluded ignore ignored skip skipped omit omitted masked")
_UNTRAINED = split_words("untrained untrainable nontrainable unweighted")
_FACTOR = split_words("scale factor multiplier coef coefficient")
_MASK = split_words("mask masks masking")
_SHOWN = {(word, "only") for word in ("context", "eval", "inference")}
# Parts of a text, or whole ones by their numbers: which of them is more than a flag can say.
_SPANS = split_words("detail details span spans segment segments range ranges offset offsets")
# Some of a row's answers, without saying how many turns that is: `mask_history`, `last_turn_only`.
_SOME = split_words("last final history")
_IGNORE = split_words("ignore ignored exclude excluded")
_LAST = split_words("last final only turn answer assistant response")
# Who or what it is done to. A mask of answers is 1 where they are trained on.
_ANSWERS = split_words("assistant gpt bot model answer answers response responses completion "
                       "completions output outputs target targets")  # fmt: skip
_PLACES = split_words(
    "turn turns message messages token tokens row rows sample samples example examples label "
    "labels reply replies"
)
# Nobody trains on these: a flag that leaves them out says nothing new.
_QUESTIONS = split_words("user human prompt system")
_MANY = split_words("turns messages tokens rows samples examples replies answers responses "
                    "completions outputs")  # fmt: skip
_NUMBERED = split_words("row sample example token label")
_WEIGHED = split_words("user human prompt system model target bot")  # `target_weight` is in kg
_SMALL_WORDS = split_words(
    "is was be to do does should can use used using with has have include included in on for from "
    "of out at the this it calc calculate calculated compute computed enable enabled apply applied "
    "only flag flags fine count require requires needs contributes contribute unmask unmasked"
)
_KNOWN = (_TRAINING, _WEIGHT, _NOT, _UNTRAINED, _MASK, _SPANS, _ANSWERS, _QUESTIONS, _PLACES,
          _SMALL_WORDS)  # fmt: skip
_SAYS_SO = _TRAINING | _WEIGHT | _UNTRAINED | _MASK | {"unmask", "unmasked", "masked"}
_IN_EACH_TURN = "cannot be honoured: write `weight` 0 or 1 into each turn"
_IGNORED = -100  # the label of tokens that are not trained on, in PyTorch
_BITS = re.compile(r"\s*[01](?:(?:,\s*|\s+)[01])+\s*")  # `"0, 1"`


class Sense(NamedTuple):
    """What a key says of training."""

    trains: bool | None  # whether true means trained on; None: it may mean either
    is_weight: bool = False  # other numbers than 0 and 1 are weights, too
    is_measure: bool = False  # other numbers than 0 and 1 are a loss that was measured
    is_count: bool = False  # a number counts things, or is a place in a list
    is_of_questions: bool = False  # `train_on_prompt`, `mask_user`
    is_sure: bool = True  # a text under it is meant as a flag, too: `train: "some"`


@lru_cache(10_000)
def sense(key: str) -> Sense | None:
    """What a key says of training. None if it says nothing, or if one of its words is about
    something else, as in `train_id`.
    """
    if words(key) in _SHOWN:
        return Sense(False)
    if words(key)[-1:] == ("count",):
        return None
    found = tuple(word for word in words(key) if word not in _SMALL_WORDS - {"unmask", "unmasked"})
    if not found or not all_in(words(key), *_KNOWN):
        return None
    left_out = found[0] in _LEFT_OUT and all_in(found, _LEFT_OUT, _PLACES, _ANSWERS, _QUESTIONS)
    if not left_out and not any(word in _SAYS_SO for word in found):
        return None
    is_weight = any(word in _WEIGHT for word in found)
    is_of_a_person = is_weight and any(word in _WEIGHED for word in found)
    if is_of_a_person or _FACTOR.issuperset(found):
        return None
    return Sense(
        _trains(found, words(key)),
        is_weight,
        is_measure=found[-1] == "loss" and all_in(words(key), _TRAINING, _ANSWERS, _PLACES),
        is_count=_counts(words(key)),
        is_of_questions=any(word in _QUESTIONS for word in found),
        is_sure=all_in(words(key), _TRAINING, _WEIGHT, _MASK, _SPANS),
    )


def _trains(found: tuple[str, ...], whole: tuple[str, ...]) -> bool | None:
    """Whether true under these words means trained on. whole: with the small words"""
    if any(word in _SPANS for word in found):
        return None
    trains = sum(word in _NOT or word in _UNTRAINED for word in found) % 2 == 0
    is_verb = whole[0] == "mask" and len(whole) > 1 and whole[1] != "flag"
    if is_verb:  # `mask_loss`, `mask_out`
        return not trains
    if any(word in _MASK for word in found):  # a noun, whose 1 may stand for either
        meant = _TRAINING | _ANSWERS | _LEFT_OUT
        return trains if any(word in meant for word in found) else None
    if found[0] in ("label", "labels"):
        return None
    return trains


def _counts(found: tuple[str, ...]) -> bool:
    """Whether a number under these words counts things, or names one: `training_sample: 0`."""
    if found[-1] in _MANY:
        return True
    return len(found) > 1 and found[-1] in _NUMBERED and found[-2] in _TRAINING


def wants_training(extra: Mapping[str, object] | None, is_answer: bool = True) -> bool | None:
    """Whether the extra keys of a turn say that it is trained on; None if they say nothing.

    is_answer: of other turns, only keys that can say that they are trained on are looked at.
    Rejection `weight` if they cannot be honoured or contradict each other. Its message begins with
    `has`: the caller puts the turn before it.
    """
    said = None
    for key, value, meant in _said(extra):
        flag = read_flag(key, value)
        if not is_answer and meant.trains is False:
            continue
        # A table holds the flag `loss: 0` as 0.0, too.
        is_measured = flag is None or words(key) != ("loss",)
        if meant.is_measure and isinstance(value, float) and is_measured:
            continue
        if flag is None:
            if not meant.is_sure and not _is_mask(value, meant) and to_number(value) is None:
                continue
            raise Rejection(
                "weight",
                f"has `{key}` {value!r:.20}, which cannot be honoured: a text is "
                "trained on or not (`weight` 1 or 0, `train` true or false)",
            )
        if said is not None and flag != said:
            raise Rejection("weight", f"has `{key}` {value!r:.20}, which another key contradicts")
        said = flag
    return said


def speaks(key: str, is_answer: bool) -> bool:
    """Whether `wants_training` looks at a key."""
    meant = sense(key)
    return meant is not None and (is_answer or meant.trains is not False)


def _said(extra: Mapping[str, object] | None) -> Iterator[tuple[str, object, Sense]]:
    """(key, value, sense) of the keys that say something of training."""
    for key, value in (extra or {}).items():
        meant = sense(key)
        if meant is None:
            if _is_of_labels(key) and _is_token_mask(value):
                yield key, value, Sense(None, is_weight=True)
            continue
        is_count = meant.is_count and to_number(value) is not None
        is_usual = meant.is_of_questions and read_flag(key, value) is False
        if not (is_nothing(value) or is_count or is_usual):
            yield key, value, meant


def read_flag(key: str, value: object) -> bool | None:
    """Whether `key` with this value means that the text is trained on; None if unclear."""
    flag, meant = to_flag(value), sense(key)
    if flag is None or meant is None or meant.trains is None:
        return None
    return flag == meant.trains


def is_clearly_untrained(key: str, value: object) -> bool:
    """Whether a key of metadata says that the text is not trained on. There, numbers may be counts
    of anything, unless they are weights.
    """
    meant = sense(key)
    if meant is None or meant.is_of_questions:
        return False
    is_flag = meant.is_weight or to_word(value) is not None
    return is_flag and read_flag(key, value) is False


def refuse_untrained_row(extra: Mapping[str, object] | None, answers: int) -> None:
    """Rejection if the extra keys of a whole row say that it is not trained on, or only in part.

    answers: how many the row has. Of one answer, the last is all.
    """
    for key, value in (extra or {}).items():
        if answers > 1 and _is_of_some_answers(key, value):
            raise Rejection("weight", f"has `{key}` {value!r:.20}, which {_IN_EACH_TURN}")
    for key, value, meant in _said(extra):
        if meant.is_measure and isinstance(value, float):
            continue
        flag = read_flag(key, value)
        if flag and meant.is_of_questions:
            raise Rejection("weight", f"has `{key}` {value!r:.20}, but only answers are trained on")
        if flag is False:
            raise Rejection("untrained", f"has `{key}` {value!r:.20}: it is not to be trained on")
        if _is_mask(value, meant):
            raise Rejection("weight", f"has `{key}` {value!r:.20}, which {_IN_EACH_TURN}")
        is_weight = meant.is_weight and to_number(value) is not None
        is_unclear = meant.trains is None and (to_flag(value) is not None or _is_data(value))
        if flag is None and (is_weight or is_unclear):
            raise Rejection(
                "weight",
                f"has `{key}` {value!r:.20}, which cannot be honoured: all rows count alike; "
                "remove the key or the row",
            )


def _is_of_some_answers(key: str, value: object) -> bool:
    """Whether a row is to be trained on in part: `train_on_last_turn: true`, `loss_on: "last"`."""
    if isinstance(value, str) and to_word(value) is None:
        found = words(value)
        is_last = not _SOME.isdisjoint(found) and all_in(found, _LAST)
        return is_last and sense(key) is not None
    found = words(key)
    if to_word(value) is not True or _SOME.isdisjoint(found) or not all_in(found, _SOME, *_KNOWN):
        return False
    says_so = _MASK | _IGNORE if "history" in found else _SAYS_SO | {"only"}
    return not says_so.isdisjoint(found)


def _is_data(value: object) -> bool:
    """Whether it is a list of numbers or objects, which may be places in a text."""
    return isinstance(value, list) and not any(isinstance(item, str) for item in value)


def _is_mask(value: object, meant: Sense) -> bool:
    """Whether it is a list of flags or weights, also as a table holds one: as text."""
    items = _items(value)
    return items is not None and all(_is_flag(item, meant) for item in items)


def _items(value: object) -> list | None:
    """The items of a list, also as a table holds one, and of lists in it (of a turn's tokens)."""
    if isinstance(value, str) and (value.strip().startswith("[") or _BITS.fullmatch(value)):
        value = value.replace(" ", ",") if "," not in value else value
        value = [item.strip(" []\"'") for item in value.split(",")]
    if not isinstance(value, list):
        return None
    return list(chain.from_iterable(item if isinstance(item, list) else [item] for item in value))


def _is_flag(item: object, meant: Sense) -> bool:
    """Whether an item of a list says how much a turn or a token counts. Null says nothing."""
    number = to_number(item)
    if number is not None:
        if meant.is_measure:
            return number in (0, 1)
        is_place = meant.is_count and number.is_integer()  # `train_turns: [1, 3]`
        return meant.is_weight or is_place or number == _IGNORED or 0 <= number <= 1
    return to_word(item) is not None or item in (None, "null", "None")


@lru_cache(10_000)
def _is_of_labels(key: str) -> bool:
    return not {"label", "labels", "target", "targets"}.isdisjoint(words(key))


def _is_token_mask(value: object) -> bool:
    """Whether it is a list of token ids in which -100 stands for those not trained on."""
    return any(to_number(item) == _IGNORED for item in _items(value) or ())
