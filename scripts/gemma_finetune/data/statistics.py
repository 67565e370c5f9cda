"""Statistics of the data, from a table of facts with one row a conversation: metrics/data.json and
the plots.
"""

import numpy as np
import pandas as pd

from gemma_finetune.data.schemas import FORMATS
from gemma_finetune.data.split import SPLITS

BINS = 24


def facts_table(facts: dict[str, np.ndarray]) -> pd.DataFrame:
    """facts.npz as a table: columns split and format (by name), turns, system, tokens,
    supervised.
    """
    columns: dict = dict(facts)
    columns["split"] = pd.Categorical.from_codes(facts["split"], SPLITS)
    columns["format"] = pd.Categorical.from_codes(facts["format"], list(FORMATS))
    return pd.DataFrame(columns)


def nearest_table(splits: list[str], similarity: np.ndarray) -> pd.DataFrame:
    """The sampled held-out rows: columns split and similarity, to the nearest training row."""
    return pd.DataFrame({"split": pd.Categorical(splits, SPLITS), "similarity": similarity})


def summarize(facts: pd.DataFrame) -> dict:
    """Numbers of each split. `facts` has the columns split, format, turns, system, tokens,
    supervised, one row each.
    """
    splits = {split: facts[facts["split"] == split] for split in SPLITS}
    return {split: _summary(rows) for split, rows in splits.items() if len(rows)}


def _summary(rows):
    tokens = rows["tokens"]
    return {
        "rows": len(rows),
        "turns": int(rows["turns"].sum()),
        "turns_mean": round(float(rows["turns"].mean()), 4),
        "multi_turn_fraction": round(float((rows["turns"] > 2).mean()), 4),
        "system_texts": int(rows["system"].sum()),
        "tokens": int(tokens.sum()),
        "tokens_median": int(tokens.quantile(0.5, "lower")),
        "tokens_p95": int(tokens.quantile(0.95, "lower")),
        "tokens_max": int(tokens.max()),
        "supervised_fraction": round(float(rows["supervised"].sum() / tokens.sum()), 4),
        "formats": {
            name: int(count) for name, count in sorted(rows["format"].value_counts().items())
        },
    }


def as_text(summary: dict) -> str:
    """`summarize`'s numbers as a table, a column each split."""
    return pd.DataFrame(summary).drop("formats").to_string()


def summarize_nearest(nearest: pd.DataFrame) -> dict:
    """Of each held-out split, how similar its rows are to training. `nearest` has the columns
    split, similarity.
    """
    groups = nearest.groupby("split", observed=True)["similarity"]
    quantiles = {"median": 0.5, "p95": 0.95, "max": 1.0}
    return {
        split: {name: round(float(rows.quantile(q, "lower")), 4) for name, q in quantiles.items()}
        for split, rows in groups
    }


def similarity_histogram(nearest: pd.DataFrame) -> pd.DataFrame:
    """Held-out rows by their similarity to training: columns split, similarity (a bin's lower end),
    rows.
    """
    lower = (nearest["similarity"] * 20 + 1e-9) // 1 / 20
    return nearest.groupby(["split", lower], observed=True).size().rename("rows").reset_index()


def token_histogram(facts: pd.DataFrame) -> pd.DataFrame:
    """Rows by length: columns split, tokens (a bin's upper end), rows."""
    width = -(-int(facts["tokens"].max()) // BINS)
    upper = -(-facts["tokens"] // width) * width
    return (
        facts.groupby(["split", upper.rename("tokens")], observed=True)
        .size()
        .rename("rows")
        .reset_index()
    )


def turn_histogram(facts: pd.DataFrame) -> pd.DataFrame:
    """Rows by number of turns: columns split, turns, rows."""
    return facts.groupby(["split", "turns"], observed=True).size().rename("rows").reset_index()


def row_flow(validate: dict, dedup: dict, overlong: int) -> pd.DataFrame:
    """Rows out of each stage, and what it took away: columns stage, rows, removed."""
    formatted = dedup["kept"] - overlong
    rows = [
        ("raw", validate["read"], 0),
        ("validate", validate["accepted"], validate["rejected"]),
        ("convert", dedup["rows"], validate["accepted"] - dedup["rows"]),
        ("dedup", dedup["kept"], dedup["rows"] - dedup["kept"]),
        ("format", formatted, overlong),
    ]
    return pd.DataFrame(rows, columns=["stage", "rows", "removed"])
