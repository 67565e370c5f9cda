"""Statistics of the data, from a table of facts with one row a conversation.

They go to metrics/data.json and to the plots. The table of facts has the columns split, format,
turns, system, tokens and supervised: `formatter.Formatted` says what they mean.
"""

import numpy as np
import pandas as pd

from gemma_finetune.data.schemas import FORMATS
from gemma_finetune.data.split import SPLITS

BINS = 24


def facts_table(facts: dict[str, np.ndarray]) -> pd.DataFrame:
    """facts.npz as a table of facts, with split and format by name."""
    columns: dict = dict(facts)
    columns["split"] = pd.Categorical.from_codes(facts["split"], SPLITS)
    columns["format"] = pd.Categorical.from_codes(facts["format"], list(FORMATS))
    return pd.DataFrame(columns)


def nearest_table(splits: list[str], similarity: np.ndarray) -> pd.DataFrame:
    """The sampled held-out rows: their split, and similarity to the nearest training row."""
    return pd.DataFrame({"split": pd.Categorical(splits, SPLITS), "similarity": similarity})


def summarize(facts: pd.DataFrame) -> dict[str, dict]:
    """The numbers of each split that has rows, from a table of facts."""
    summaries = {}
    for split in SPLITS:
        rows = facts[facts["split"] == split]
        if len(rows):
            summaries[split] = _summarize_split(rows)
    return summaries


def _summarize_split(rows: pd.DataFrame) -> dict:
    turns, tokens = rows["turns"], rows["tokens"]
    formats = rows["format"].value_counts()
    return {
        "rows": len(rows),
        "turns": int(turns.sum()),
        "turns_mean": round(float(turns.mean()), 4),
        "multi_turn_fraction": round(float((turns > 2).mean()), 4),
        "system_texts": int(rows["system"].sum()),
        "tokens": int(tokens.sum()),
        "tokens_median": int(tokens.quantile(0.5, "lower")),
        "tokens_p95": int(tokens.quantile(0.95, "lower")),
        "tokens_max": int(tokens.max()),
        "supervised_fraction": round(float(rows["supervised"].sum() / tokens.sum()), 4),
        "formats": {name: int(count) for name, count in sorted(formats.items())},
    }


def as_text(summary: dict[str, dict]) -> str:
    """The numbers of `summarize` as a printed table, one column for each split."""
    return pd.DataFrame(summary).drop("formats").to_string()


def summarize_nearest(nearest: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Median, 95th percentile and maximum of a `nearest_table`, for each split that has rows."""
    quantiles = {"median": 0.5, "p95": 0.95, "max": 1.0}
    summaries = {}
    for split, similarity in nearest.groupby("split", observed=True)["similarity"]:
        summaries[split] = {
            name: round(float(similarity.quantile(q, "lower")), 4) for name, q in quantiles.items()
        }
    return summaries


def similarity_histogram(nearest: pd.DataFrame) -> pd.DataFrame:
    """A `nearest_table` by similarity: columns split, similarity (a bin's lower end), rows."""
    lower = (nearest["similarity"] * 20 + 1e-9) // 1 / 20  # bins of 0.05
    return _count(nearest, lower)


def token_histogram(facts: pd.DataFrame) -> pd.DataFrame:
    """Rows by length: columns split, tokens (a bin's upper end), rows."""
    width = -(-int(facts["tokens"].max()) // BINS)
    upper = -(-facts["tokens"] // width) * width
    return _count(facts, upper)


def turn_histogram(facts: pd.DataFrame) -> pd.DataFrame:
    """Rows by number of turns: columns split, turns, rows."""
    return _count(facts, facts["turns"])


def _count(table: pd.DataFrame, bins: pd.Series) -> pd.DataFrame:
    """Rows of `table` by split and bin. Pairs without a row are left out."""
    groups = table.groupby(["split", bins], observed=True)
    return groups.size().rename("rows").reset_index()


def row_flow(validate: dict, dedup: dict, formatted: int, left_out: int) -> pd.DataFrame:
    """How many rows came out of each stage and how many it removed: columns stage, rows, removed.

    `validate` and `dedup` are the metrics of these stages; `formatted`: rows that format wrote,
    pieces of long conversations counted apart; `left_out`: rows that it left out.
    """
    rows = [
        ("raw", validate["read"], 0),
        ("validate", validate["accepted"], validate["rejected"]),
        ("convert", dedup["rows"], validate["accepted"] - dedup["rows"]),
        ("dedup", dedup["kept"], dedup["rows"] - dedup["kept"]),
        ("format", formatted, left_out),
    ]
    return pd.DataFrame(rows, columns=["stage", "rows", "removed"])
