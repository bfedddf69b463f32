"""The t-SNE map of the latents, with the identity of each point."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.charts import MARKERS, Chart, Cloud, Key, Scatter
from latentpath.report.pictures import words
from latentpath.runs.figure_style import colour
from latentpath.runs.files import Json

MAX_POINTS = 5000  # of the map: about 300 kB
WIDTH, HEIGHT, MARGIN = 720, 480, 14  # px of the map


@dataclass(frozen=True)
class LatentMap:
    """The t-SNE map: a chart, and the identity of each point.

    points: [x, y in px of the map, class, seed, attribute (-1: neutral), swap step], with classes and
    attributes as indices; ordered by class, seed, attribute, from weak to strong.
    """

    chart: Chart
    points: list[list[float]]

    def data(self, run: RunArtefacts, steps: list[int]) -> Json:
        """Return what the page's script gets; steps: the swap steps of the slider, which the map leads to."""
        return {
            "points": self.points,
            "classes": [words(c) for c in run.classes],
            "attributes": [words(a) for a in run.attributes],
            "steps": steps,
            "neutral": run.num_inference_steps,
        }


def latent_map(run: RunArtefacts) -> LatentMap | None:
    """Make the map: colour is the attribute (neutral: grey), marker the class, opacity the strength."""
    if run.tsne is None or run.tsne.empty:
        return None
    table = run.tsne.copy()
    if "method" in table:
        table = table[table["method"].isin(["neutral", "swap"])]
    table["attribute"] = table["attribute"].fillna("").astype(str)
    table["swap_step"] = pd.to_numeric(table["swap_step"], errors="coerce").fillna(run.num_inference_steps)
    table = table.dropna(subset=["x", "y"])
    total = len(table)
    if total == 0:
        return None
    if total > MAX_POINTS:
        shown = set(run.examples["seed"]) if len(run.examples) else set()  # those with pictures stay
        first = table[table["seed"].isin(shown)].head(MAX_POINTS)
        rest = table.drop(first.index)
        table = pd.concat([first, rest.sample(min(MAX_POINTS - len(first), len(rest)), random_state=0)])
    table[["px", "py"]] = _placed(table[["x", "y"]].to_numpy(float))
    colours = {a: colour(index) for index, a in enumerate(run.attributes)}
    marks = {cls: list(MARKERS)[index % len(MARKERS)] for index, cls in enumerate(run.classes)}
    clouds = []
    for key, group in table.groupby(["attribute", "class", "swap_step"], sort=True):
        attribute, cls, step = cast(tuple[str, str, float], key)
        strength = 0.85 if attribute == "" else 0.25 + 0.65 * (1 - step / run.num_inference_steps)
        points = list(zip(group["px"], group["py"], strict=True))
        clouds.append(Cloud(points, colours.get(attribute, "quiet"), marks.get(cls, "circle"), strength))
    legend = [Key(words(a), name, "circle") for a, name in colours.items()] + [
        Key("neutral", "quiet", "circle")
    ]
    if len(run.classes) > 1:
        legend += [Key(words(cls), "ink", mark) for cls, mark in marks.items()]
    note = f"{total:,} latents" + (f", {len(table):,} of them drawn." if total > len(table) else ".")
    described = f"t-SNE map of {total} latents, coloured by {', '.join(map(words, run.attributes))}"
    chart = Chart([Scatter(clouds, described, WIDTH, HEIGHT)], legend, note, name="tsne", columns=1)
    return LatentMap(chart, _points(run, table))


def _placed(xy: np.ndarray) -> np.ndarray:
    """Scale points to px of the map with one scale for x and y, centred, y up."""
    size, low, high = np.array([WIDTH, HEIGHT]), xy.min(axis=0), xy.max(axis=0)
    spread = np.where(high > low, high - low, 1)
    return size / 2 + (xy - (low + high) / 2) * ((size - 2 * MARGIN) / spread).min() * (1, -1)


def _points(run: RunArtefacts, table: pd.DataFrame) -> list[list[float]]:
    """Return the points of neutral latents and plain swaps; other edits have no label on the map."""
    found = [
        [
            round(row["px"], 1),
            round(row["py"], 1),
            run.classes.index(row["class"]),
            int(row["seed"]),
            run.attributes.index(row["attribute"]) if row["attribute"] else -1,
            int(row["swap_step"]),
        ]
        for row in table.to_dict("records")
        if row["class"] in run.classes and row["attribute"] in ("", *run.attributes)
    ]
    return sorted(found, key=lambda point: (point[2], point[3], point[4], -point[5]))
