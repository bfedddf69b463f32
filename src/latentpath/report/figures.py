"""The page's charts: flip curves, directions of the trajectories, t-SNE of the latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
from markupsafe import Markup

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.pictures import words
from latentpath.report.svg import Cloud, Line, colour, line_chart, marker, scatter, swatch
from latentpath.report.tables import lookup

MAX_POINTS = 5000  # of the t-SNE map: about 200 kB


@dataclass(frozen=True)
class Chart:
    """Small charts under one legend."""

    panels: list[Markup]
    legend: list[tuple[Markup, str]]
    note: str = ""


def flip_curves(run: RunArtefacts) -> Chart | None:
    """A panel per class and attribute: what should rise (it) against what should stay (the others)."""
    curves = run.metrics.get("flip_curve")
    if not curves:
        return None
    panels = []
    for cls in run.classes:
        for index, attribute in enumerate(run.attributes):
            points: dict[str, Any] = dict(lookup(curves, cls, attribute) or {})
            if not points:
                continue
            absent = lookup(run.metrics.get("faithfulness"), "finetuned", cls, attribute, "neutral")
            if absent is not None:  # the curve's beginning: no swap at all
                points.setdefault(str(run.num_inference_steps), {"rate": 1 - absent})
            steps, x, labels = _axis(run, points)
            name = f"{words(cls)}: {words(attribute)}" if len(run.classes) > 1 else words(attribute)
            series = {
                key: [lookup(points, step, key) for step in steps] for key in ("rate", "prob", "others")
            }
            lines = [
                Line("other attributes, mean probability", series["others"], "quiet"),
                Line(f"{words(attribute)}, mean probability", series["prob"], colour(index), dashed=True),
                Line(f"{words(attribute)}, share of seeds", series["rate"], colour(index)),
            ]
            panels.append(line_chart(name, x, labels, lines, describe=_describe(name, steps, series["rate"])))
    first = colour(0) if len(run.attributes) == 1 else "ink"
    legend = [
        (swatch(first), "attribute present, share of seeds"),
        (swatch(first, dashed=True), "attribute, mean probability"),
        (swatch("quiet"), "the other attributes, mean probability: should stay flat"),
    ]
    return Chart(panels, legend) if panels else None


def direction_curves(run: RunArtefacts) -> Chart | None:
    """A panel per class and reference direction, a line an attribute; 1 all along is a straight line."""
    cosines = run.metrics.get("cosine")
    if not cosines:
        return None
    panels = []
    names = {"weakest": "against the weakest swap", "strongest": "against the strongest swap"}
    for cls in run.classes:
        for reference, name in names.items():
            points = {s: 0 for a in run.attributes for s in (lookup(cosines, cls, a) or {})}
            if not points:
                continue
            steps, x, labels = _axis(run, points)
            lines = [
                Line(words(a), [lookup(cosines, cls, a, step, reference) for step in steps], colour(index))
                for index, a in enumerate(run.attributes)
            ]
            values = [v for line in lines for v in line.values if v is not None and v == v]
            if values:
                title = f"{words(cls)}: {name}" if len(run.classes) > 1 else name
                low = min(0.0, *values) - (0.05 if min(values) < 0 else 0.0)
                panels.append(line_chart(title, x, labels, lines, low=low))
    legend = [(swatch(colour(index)), words(a)) for index, a in enumerate(run.attributes)]
    return Chart(panels, legend) if panels else None


def tsne_map(run: RunArtefacts) -> Chart | None:
    """All stored latents: colour = attribute (neutral: grey), marker = class, opacity = strength."""
    if run.tsne is None or run.tsne.empty:
        return None
    table = run.tsne.copy()
    table["attribute"] = table["attribute"].fillna("").astype(str)
    table["swap_step"] = pd.to_numeric(table["swap_step"], errors="coerce").fillna(run.num_inference_steps)
    table = table.dropna(subset=["x", "y"])
    total = len(table)
    if total > MAX_POINTS:
        table = table.sample(MAX_POINTS, random_state=0)
    colours = {a: colour(index) for index, a in enumerate(run.attributes)}
    clouds = []
    for key, group in table.groupby(["attribute", "class", "swap_step"], sort=True):
        attribute, cls, step = cast(tuple[str, str, float], key)
        strength = 0.85 if attribute == "" else 0.25 + 0.65 * (1 - step / run.num_inference_steps)
        mark = run.classes.index(cls) if cls in run.classes else 0
        points = list(zip(group["x"], group["y"], strict=True))
        clouds.append(Cloud(points, colours.get(attribute, "quiet"), mark, strength))
    if not clouds:
        return None
    legend = [(marker(0, style), words(a)) for a, style in colours.items()] + [
        (marker(0, "quiet"), "neutral")
    ]
    if len(run.classes) > 1:
        legend += [(marker(index, "ink"), words(cls)) for index, cls in enumerate(run.classes)]
    note = f"{total:,} latents" + (
        f", {MAX_POINTS:,} of them drawn, chosen at random." if total > MAX_POINTS else "."
    )
    described = f"t-SNE map of {total} latents, coloured by {', '.join(map(words, run.attributes))}"
    return Chart([scatter(clouds, describe=described)], legend, note)


def _axis(run: RunArtefacts, points: Any) -> tuple[list[int], list[float], list[str]]:
    """Swap steps from neutral to the strongest edit, their x (rising with strength), their labels."""
    end = run.num_inference_steps
    steps = sorted((int(step) for step in points), reverse=True)
    return steps, [float(end - step) for step in steps], ["neutral" if s == end else str(s) for s in steps]


def _describe(name: str, steps: Sequence[int], rates: Sequence[float | None]) -> str:
    known = [(step, rate) for step, rate in zip(steps, rates, strict=True) if rate is not None]
    if not known:
        return f"{name}: no scores"
    (first, low), (last, high) = known[0], known[-1]
    return f"{name}: present in {low:.0%} of seeds at step {first}, {high:.0%} at swap step {last}"
