"""The report's pictures: what each rung costs, and the loss of training.

The same numbers always give the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

FLOOR = 1e-9  # KL below this is rounding
COLORS = {"base": "tab:gray", "tflite": "tab:blue", "task": "tab:orange", "litertlm": "tab:green"}


def plot_ladder(rows: Sequence[dict], score: str, path: str | Path) -> None:
    """A PNG of every rung: its score with its interval, and KL to the merged model.

    rows: ladder.table's.
    score: the figure that fits evaluate.task.
    """
    figure = Figure(figsize=(10, 0.38 * len(rows) + 1.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for y, row in enumerate(rows):
        color = COLORS.get(row["rung"].partition("_")[0], "tab:purple")
        if row[score] is not None:
            _draw_score(left, y, row, score, color)
        _draw_kl(right, y, row, color)

    left.set_yticks(range(len(rows)), [row["rung"] for row in rows])
    left.invert_yaxis()
    left.set(
        xlim=(-0.02, 1.02),
        xlabel=f"{score.replace('_', ' ')}, 95 % interval",
        title="What it answers",
    )
    right.set(xlabel="KL to the merged model, nats a token", xscale="log")
    right.set(title="How far from the merged model")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def _draw_score(axes: Axes, y: int, row: dict, score: str, color: str) -> None:
    value = row[score]
    below = max(0, value - row[f"{score}_low"])
    above = max(0, row[f"{score}_high"] - value)
    axes.errorbar(value, y, xerr=[[below], [above]], fmt="o", color=color, capsize=3)


def _draw_kl(axes: Axes, y: int, row: dict, color: str) -> None:
    """A point for the KL, and the size of the weights beside the axes."""
    axes.plot(max(row["kl"], FLOOR), y, "o", color=color)
    axes.annotate(
        f"{row['bytes'] / 1e6:,.1f} MB",
        xy=(1, y),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
    )


def plot_training(rows: Sequence[dict[str, str]], path: str | Path) -> None:
    """A PNG of the loss by step.

    rows: metrics/training_log.csv's, with step, loss and val_loss ("" where nothing was validated).
    """
    steps = [int(row["step"]) for row in rows]
    losses = [float(row["loss"]) for row in rows]
    validated = [row for row in rows if row["val_loss"]]

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, lw=0.8, label="training")
    if validated:
        val_steps = [int(row["step"]) for row in validated]
        val_losses = [float(row["val_loss"]) for row in validated]
        axes.plot(val_steps, val_losses, drawstyle="steps-post", label="validation")
    axes.set(xlabel="step", ylabel="loss, nats a supervised token", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})  # no version, no date
