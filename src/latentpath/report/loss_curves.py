"""The chart of a fine-tune's validation loss: of the weights and of their average, and by noise level."""

from __future__ import annotations

import pandas as pd

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.charts import Chart, Curves, Key, Line
from latentpath.runs.figure_style import colour

WEIGHTS = {"val/loss": "the weights", "val/loss_ema": "their average (EMA)"}


def loss_curves(run: RunArtefacts) -> Chart | None:
    """Make two panels over the training steps: the mean loss, and that of each range of timesteps."""
    if run.training is None or "val/loss" not in run.training:
        return None
    rows = run.training.dropna(subset=["val/loss"]).sort_values("step")
    if len(rows) < 2:
        return None
    there = [key for key in WEIGHTS if key in rows]
    bins = [key for key in map(str, rows) if key.startswith(f"{there[-1]}_t")]
    looks = zip(there, ("solid", "dashed"), strict=False)
    mean = [Line(WEIGHTS[key], rows[key].tolist(), "ink", look) for key, look in looks]
    names = [f"t = {key.rpartition('_t')[2]}" for key in bins]
    each = [Line(names[k], rows[key].tolist(), colour(k)) for k, key in enumerate(bins)]
    panels = [_panel("mean over all timesteps", rows, mean)]
    panels += [_panel(f"{WEIGHTS[there[-1]]}, by timestep", rows, each)] if each else []
    legend = [Key(line.name, line.colour, line.look) for line in (*mean, *each)]
    return Chart(panels, legend, name="validation_loss")


def _panel(title: str, rows: pd.DataFrame, lines: list[Line]) -> Curves:
    steps = rows["step"].astype(int).tolist()
    first, last = lines[0].values[0], lines[0].values[-1]
    description = f"{title}, {lines[0].name}: {first:.3f} at step {steps[0]}, {last:.3f} at step {steps[-1]}"
    high = 1.05 * max(v for line in lines for v in line.values if v == v)
    labels = [f"{step:,}" for step in steps]
    return Curves(
        title,
        steps,
        labels,
        lines,
        high=high,
        x_title="training step",
        description=description,
        width=320,
        height=190,
    )
