"""What counts as empty: text that shows nothing, and values of a row that hold nothing."""

import re

# White space, all that Unicode lists as Default_Ignorable_Code_Point (zero-width characters,
# variation selectors, the soft hyphen, fillers, tags, ...), and the blank of Braille.
_INVISIBLE = (
    r"\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(f"[^{_INVISIBLE}]")


def is_blank(text: str) -> bool:
    """Whether a text has no character that can be seen."""
    if "!" <= text[:1] <= "~":  # most texts: no need to search
        return False
    return not _VISIBLE.search(text)


def is_missing(value: object) -> bool:
    """Whether a column of text holds nothing: null or blank. `"[]"` is text that someone wrote."""
    return value is None or (isinstance(value, str) and is_blank(value))


# What programs write for no value, and people for no input in Alpaca's files. `None` is not among
# them: it is a value that questions about Python are about.
_NO_INPUT = re.compile(r"null|nan|n/a|<?no ?input>?", re.IGNORECASE)


def is_missing_input(value: object) -> bool:
    """As `is_missing`. An input is optional, so `"null"` is an empty cell of a table, too."""
    if not isinstance(value, str):
        return value is None
    return is_blank(value) or _NO_INPUT.fullmatch(value.strip()) is not None


def is_nothing(value: object) -> bool:
    """Whether a JSON value holds nothing: null, blank text, `"[]"`, a list or object of these."""
    if isinstance(value, str):
        return is_blank(value) or value.strip() in ("[]", "{}", "null")
    if isinstance(value, list):
        return all(map(is_nothing, value))
    if isinstance(value, dict):
        return all(map(is_nothing, value.values()))
    return value is None
