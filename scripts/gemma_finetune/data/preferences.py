"""Keys of preference data: a second answer, better or worse than the first (DPO), or whether people
liked the answer (KTO). Told by their words.
"""

import re
from functools import lru_cache

from gemma_finetune.data.flags import to_flag, to_word
from gemma_finetune.data.key_words import all_in, singular, split_words, words

_SAID = split_words("chosen rejected preferred dispreferred unpreferred unchosen loser lose")
_BETTER_OR_WORSE = _SAID | split_words(
    "better worse worst bad good winning losing wrong incorrect undesired undesirable negative "
    "positive corrupted flawed inferior superior poor"
)
# As reviewers' exports have it. Such a key may also say only whether, when or by whom.
_EDITED = split_words("corrected edited revised improved rewritten fixed refined")
_ANSWER = split_words("response answer output completion reply generation")
_SAID_OF = _ANSWER | split_words("message text content conversation")
_OTHER_WORDS = split_words("non not un model assistant gpt the")
_NUMBERED = split_words("response output completion reply generation conversation")
_SECOND = split_words("second alt alternate alternative other another")

_LIKED = split_words("desirable desired like liked preferred chosen upvoted upvote good")
_DISLIKED = split_words(
    "undesirable undesired dislike disliked dispreferred unpreferred rejected downvoted downvote "
    "unwanted bad"
)
_ABOUT = split_words(
    "is was kto user human label tag response answer output completion message this"
)
# Keys of a person's choice, whose value may also be a word. Only the first may hold 0 for it.
_CHOICE = split_words("label preference kto")
_REACTION = split_words("feedback rating reaction vote verdict thumb thumbs")
_BAD_REACTIONS = split_words("down reject 👎")
_WORDS_FOR_BAD = split_words(
    "rejected undesirable undesired dispreferred unpreferred disliked dislike downvoted downvote "
    "thumbs_down thumbsdown"
)


@lru_cache(10_000)
def _is_second_answer_key(key: str) -> bool:
    found = [singular(word) for word in words(key)]
    if len(found) < 2:
        return bool(found) and found[0] in _SAID
    is_said = found[-1] in _SAID or (found[-1] in _SAID_OF and not _SAID.isdisjoint(found))
    if is_said and all_in(found, _SAID, _SAID_OF, _OTHER_WORDS):
        return True  # `chosen_response`, `response_rejected`
    if len(found) == 2:  # `response_b`, `second_output`
        noun, rank = found if found[0] in _NUMBERED else found[::-1]
        is_ranked = rank in _SECOND or len(rank) == 1 or rank.isdigit()
        if noun in _NUMBERED and is_ranked:
            return True
    return (
        found[-1] in _ANSWER
        and any(word in _BETTER_OR_WORSE | _EDITED for word in found)
        and all_in(found, _BETTER_OR_WORSE, _EDITED, _ANSWER, _OTHER_WORDS)
    )


def is_second_answer(key: str, value: object) -> bool:
    """Whether a key holds another answer than the one that is read. Numbers and flags are none."""
    if not _is_second_answer_key(key):
        return False
    if isinstance(value, int | float):
        return False
    found = {singular(word) for word in words(key)}
    if found & (_EDITED | {"conversation"}) and not found & _SAID and isinstance(value, str):
        # `corrected_response: "2026-01-02"`, `edited_output: "no"`, `conversation_1: "c1"`
        return to_word(value) is None and re.search(r"\s|^\D*$", value.strip()) is not None
    return len(words(key)) > 1 or str(value).strip().lower() not in ("true", "false")


@lru_cache(10_000)
def _asks(key: str) -> str | None:
    """What a key asks: `liked`, `disliked`, for the `choice` or for the `reaction`; or None."""
    said = " ".join(words(key))
    for thumbs, word in (("thumbs ?up", "upvoted"), ("thumbs ?down", "downvoted")):
        said = re.sub(thumbs, word, said)
    found = said.split()
    is_choice = all_in(found, _CHOICE, _ABOUT) and not {"preference", "kto"}.isdisjoint(found)
    if found == ["label"] or is_choice:
        return "choice"
    core = [word for word in found if word not in _ABOUT]
    if len(core) != 1:
        return None
    kinds = {"liked": _LIKED, "disliked": _DISLIKED, "reaction": _REACTION}
    return next((kind for kind, names in kinds.items() if core[0] in names), None)


def is_disliked(key: str, value: object) -> bool:
    """Whether a key says that people did not like the answer."""
    kind = _asks(key)
    if kind is None:
        return False
    if kind == "disliked":
        flag = to_flag(value) if "rejected" in words(key) else to_word(value)
        return flag is True
    if str(value).strip().lower().replace(" ", "_") in _WORDS_FOR_BAD:
        return True
    if kind == "reaction":
        if isinstance(value, dict):  # `{"rating": "thumbsDown", "text": "Wrong."}`
            return any(is_disliked(part, said) for part, said in value.items())
        if isinstance(value, list):  # of each person one
            return bool(value) and all(is_disliked(key, said) for said in value)
        said = str(value).strip().lower()
        # A rating of -1 may be one of a scale from -2 to 2, or stand for none.
        return said in _BAD_REACTIONS or (said in ("-1", "-1.0") and "rating" not in words(key))
    return (to_flag(value) if kind == "choice" else to_word(value)) is False
