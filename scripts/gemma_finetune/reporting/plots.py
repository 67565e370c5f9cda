"""The report's pictures: where the ladder loses what, and how training went. Same numbers, same
bytes.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

FLOOR = 1e-9  # KL below this is rounding
COLORS = {"base": "tab:gray", "tflite": "tab:blue", "task": "tab:orange", "litertlm": "tab:green"}


def plot_ladder(rows: Sequence[dict], path: str | Path) -> None:
    """A PNG of every rung: exact match with its interval, and KL against the merged model. `rows`:
    ladder.table's.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 0.38 * len(rows) + 1.4), sharey=True, layout="constrained"
    )
    for y, row in enumerate(rows):
        color = COLORS.get(row["rung"].partition("_")[0], "tab:purple")
        value, low, high = (row[f"exact_match{end}"] for end in ("", "_low", "_high"))
        left.errorbar(
            value,
            y,
            xerr=[[max(0, value - low)], [max(0, high - value)]],
            fmt="o",
            color=color,
            capsize=3,
        )
        right.plot(max(row["kl"], FLOOR), y, "o", color=color)
        right.annotate(
            f"{row['bytes'] / 1e6:,.1f} MB",
            (1, y),
            (4, 0),
            ("axes fraction", "data"),
            "offset points",
            va="center",
        )
    left.set_yticks(range(len(rows)), [row["rung"] for row in rows])
    left.set(xlim=(-0.02, 1.02), xlabel="exact match, 95 % interval", title="What it answers")
    right.set(
        xlabel="KL to the merged model, nats a token",
        title="How far from the merged model",
        xscale="log",
    )
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def plot_training(rows: Sequence[dict[str, str]], path: str | Path) -> None:
    """A PNG of training's loss by step. `rows` of metrics/training_log.csv: step, loss, val_loss
    (empty: none).
    """
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(
        [int(r["step"]) for r in rows], [float(r["loss"]) for r in rows], lw=0.8, label="training"
    )
    known = [(int(r["step"]), float(r["val_loss"])) for r in rows if r["val_loss"]]
    if known:
        axes.plot(*zip(*known, strict=True), drawstyle="steps-post", label="validation")
    axes.set(xlabel="step", ylabel="loss, nats a supervised token", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _save(figure, path):
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
    plt.close(figure)
