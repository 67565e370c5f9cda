"""What the model card says of the data that was left out."""

from gemma_finetune.reporting import card

ROWS = {"raw": 100, "validate": 90, "convert": 90, "dedup": 80, "format": 76}


def test_what_the_base_could_not_read_is_said_where_there_was_any():
    said = card._left_out({"rows": ROWS, "overlong": 4})
    assert said.endswith("10 rejected (10.0%), 10 duplicates (11.1%), 4 too long (5.0%).")
    said = card._left_out({"rows": ROWS, "overlong": 2, "rejected_by_base": 2})
    assert said.endswith("2 too long (2.5%), 2 with control tokens of the base (2.5%).")
