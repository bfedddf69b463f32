"""Selects stored images for the report and arranges them in grids, with the classifier's scores."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from latentpath.keys import BASE, FINETUNED, INTERPOLATIONS
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Row

KEY = ("class", "seed", "attribute", "method", "position", "model")
MAX_COLUMNS = 10  # neutral and nine edits; with the change column they fit a screen and a printed page


@dataclass(frozen=True)
class Picture:
    """One image. `prob`: the classifier's probability of the row's attribute, None if not scored.
    `changes`: what else the classifier decides differently from the neutral image, such as '+ruler', '→NV'.
    `against`: another file; the picture then shows how the pixels of `file` differ from it.
    `inverted`: shown as a negative, so that white is no difference."""

    file: Path
    alt: str
    prob: float | None = None
    changes: tuple[str, ...] = ()
    against: Path | None = None
    inverted: bool = False


@dataclass(frozen=True)
class GridRow:
    """One row of a grid: its label, and a picture or None for each column."""

    label: str
    pictures: list[Picture | None]


@dataclass(frozen=True)
class Grid:
    """Rows of pictures under shared column heads; the first column is the neutral image."""

    caption: str
    columns: list[str]
    rows: list[GridRow] = field(default_factory=list)

    @property
    def pictures(self) -> Iterator[Picture]:
        """Yield the pictures of all rows, without gaps."""
        return (picture for row in self.rows for picture in row.pictures if picture)


def words(key: str) -> str:
    """Return an attribute or class key as words for the reader."""
    return key.replace("_", " ")


def thinned(values: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the values, evenly spread, including the first and the last."""
    if len(values) <= count:
        return list(values)
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, max(count, 1)).round().astype(int))]


class Place(NamedTuple):
    """What identifies a stored image; position: swap step or frame, and of the neutral image all steps."""

    cls: str
    seed: int
    attribute: str
    method: str
    position: int
    model: str = FINETUNED


class Gallery:
    """The stored images of a run, by class, seed, attribute, method and position."""

    def __init__(self, run: RunArtefacts) -> None:
        self.run = run
        dials = run.shown_dials
        self._rows = {
            Place(*(row[name] for name in KEY)): row
            for row in run.examples.to_dict("records")
            if row["strength"] == dials.get(row["method"], row["strength"])
        }

    def seeds(
        self, cls: str, attribute: str = "", method: str = "neutral", model: str = FINETUNED
    ) -> list[int]:
        """Return the seeds with stored images of this kind, ascending."""
        wanted = (cls, attribute, method, model)
        return sorted({p.seed for p in self._rows if (p.cls, p.attribute, p.method, p.model) == wanted})

    def all_seeds(self) -> list[int]:
        """Return the seeds of all stored images of the fine-tuned model."""
        return sorted({place.seed for place in self._rows if place.model == FINETUNED})

    def positions(self, method: str, attribute: str | None = None, model: str = FINETUNED) -> list[int]:
        """Return the swap steps or frames with stored images, ascending; of all attributes or of one."""
        own = [place for place in self._rows if (place.method, place.model) == (method, model)]
        return sorted({place.position for place in own if attribute in (None, place.attribute)})

    def steps(self, method: str = "swap") -> list[int]:
        """Return the swap steps with stored images, late to early."""
        return self.positions(method)[::-1]

    def score(
        self, cls: str, seed: int, attribute: str, position: int | None, column: str, method: str = "swap"
    ) -> float | None:
        """Return a score of one image, or of the neutral image if `position` is None."""
        if position is None:
            return _score(self._neutral(cls, seed), column)
        return _score(self._rows.get(Place(cls, seed, attribute, method, position)), column)

    def neutral(self, cls: str, seed: int, attribute: str, model: str = FINETUNED) -> Picture | None:
        """Return the neutral image of a seed with the probability of `attribute`; None if not stored."""
        row = self._neutral(cls, seed, model)
        if row is None:
            return None
        prob = _prob(row, attribute)
        return Picture(row["file"], f"{words(cls)}, seed {seed}, neutral{_said(attribute, prob)}", prob)

    def edit(
        self, cls: str, seed: int, attribute: str, method: str, position: int, model: str = FINETUNED
    ) -> Picture | None:
        """Return an edited image at a swap step or frame, with what else it changed; None if not stored."""
        row = self._rows.get(Place(cls, seed, attribute, method, position, model))
        if row is None:
            return None
        prob, changes = _prob(row, attribute), self._changes(self._neutral(cls, seed, model), row, attribute)
        curve = method in INTERPOLATIONS
        named = "" if curve or method == "swap" else f"{words(method)}, "
        where = f"{method} frame {position}" if curve else f"{named}swap step {position}"
        also = f"; also changed: {', '.join(changes)}" if changes else ""
        alt = f"{words(cls)}, seed {seed}, toward {words(attribute)}, {where}{_said(attribute, prob)}{also}"
        return Picture(row["file"], alt, prob, changes)

    def _neutral(self, cls: str, seed: int, model: str = FINETUNED) -> Row | None:
        return self._rows.get(Place(cls, seed, "", "neutral", self.run.num_inference_steps, model))

    def _changes(self, neutral: Row | None, edited: Row, attribute: str) -> tuple[str, ...]:
        if neutral is None:
            return ()
        found, limit = [], self.run.threshold
        for other in (key.removeprefix("prob_") for key in neutral if key.startswith("prob_")):
            before, after = _prob(neutral, other), _prob(edited, other)
            if other == attribute or before is None or after is None or (before > limit) == (after > limit):
                continue
            found.append(("+" if after > limit else "−") + words(other))
        before_class, after_class = self._decided(neutral), self._decided(edited)
        if before_class != after_class and before_class and after_class:
            found.append("→" + words(after_class))
        return tuple(found)

    def _decided(self, row: Row) -> str | None:
        probs = {cls: _score(row, f"class_prob_{cls}") for cls in self.run.classes}
        return max(((p, cls) for cls, p in probs.items() if p is not None), default=(0.0, None))[1]

    def trajectories(self, cls: str, seed: int, *, columns: int = MAX_COLUMNS, change: bool = True) -> Grid:
        """Make the grid of one seed, one row per attribute: neutral, swaps late to early, and the change."""
        steps = thinned(self.steps(), columns - 1)
        maps = [change and steps and self._lpips_map(cls, seed, a, steps[-1]) for a in self.run.attributes]
        extra = ["change"] * change + ["LPIPS map"] * any(maps)
        grid = Grid(f"seed {seed}", ["neutral", *map(str, steps), *extra])
        for attribute, lpips_map in zip(self.run.attributes, maps, strict=True):
            neutral = self.neutral(cls, seed, attribute)
            swaps = [self.edit(cls, seed, attribute, "swap", step) for step in steps]
            if any(swaps):
                last = [_change(neutral, swaps[-1]), lpips_map or None][: len(extra)]
                grid.rows.append(GridRow(words(attribute), [neutral, *swaps, *last]))
        return grid

    def _lpips_map(self, cls: str, seed: int, attribute: str, step: int) -> Picture | None:
        row = self._rows.get(Place(cls, seed, attribute, "swap", step))
        if row is None or row.get("lpips_map") is None:
            return None
        where = f"{words(cls)}, seed {seed}, toward {words(attribute)}, swap step {step}"
        return Picture(row["lpips_map"], f"LPIPS to neutral, place by place, of: {where}", inverted=True)

    def trajectory_seeds(self, cls: str, attribute: str, *, seeds: int, columns: int = MAX_COLUMNS) -> Grid:
        """Make the grid of one attribute: one row per seed, with neutral, then swaps from late to early."""
        steps = thinned(self.steps(), columns - 1)
        grid = Grid(words(attribute), ["neutral", *map(str, steps)])
        for seed in self.seeds(cls, attribute, "swap")[:seeds]:
            swaps = [self.edit(cls, seed, attribute, "swap", step) for step in steps]
            grid.rows.append(GridRow(f"seed {seed}", [self.neutral(cls, seed, attribute), *swaps]))
        return grid

    def interpolations(self, cls: str, method: str, *, columns: int = 9) -> Grid:
        """Make the grid of one curve: one row per attribute, frames from neutral to the strongest swap."""
        frames = thinned(self.positions(method), columns)
        last = (self.run.frames or (frames[-1] + 1 if frames else 1)) - 1
        grid = Grid(words(cls), [f"{frame / max(last, 1):.2f}" for frame in frames])
        for attribute in self.run.attributes:
            for seed in self.seeds(cls, attribute, method)[:1]:
                pictures = [self.edit(cls, seed, attribute, method, frame) for frame in frames]
                grid.rows.append(GridRow(words(attribute), pictures))
        return grid

    def base_against_finetuned(self, cls: str) -> Grid | None:
        """Make the grid of neutral and strongest image of both models, one row per attribute."""
        steps = self.steps()
        if not steps:
            return None
        target = "target" if steps[-1] == 0 else f"swap {steps[-1]}"
        heads = ["neutral", "target", "neutral", target]
        grid = Grid(f"{words(cls)}: base model left, fine-tuned model right", heads)
        for attribute in self.run.attributes:
            both = set(self.seeds(cls, attribute, "swap", BASE)) & set(self.seeds(cls, attribute, "swap"))
            for seed in sorted(both)[:1]:
                strongest = {BASE: self.positions("swap", attribute, BASE)[0], FINETUNED: steps[-1]}
                row: list[Picture | None] = []
                for model, step in strongest.items():
                    row.append(self.neutral(cls, seed, attribute, model))
                    row.append(self.edit(cls, seed, attribute, "swap", step, model))
                grid.rows.append(GridRow(words(attribute), row))
        return grid if grid.rows else None


def within_bytes(grids: Sequence[Grid], budget: int, size: Callable[[Picture], int]) -> list[Grid]:
    """Return the first grids whose images together stay within the budget; always at least one."""
    kept: list[Grid] = []
    for grid in grids:
        budget -= sum(size(picture) for picture in grid.pictures)
        if kept and budget < 0:
            break
        kept.append(grid)
    return kept


def _change(neutral: Picture | None, edited: Picture | None) -> Picture | None:
    if neutral is None or edited is None:
        return None
    return Picture(edited.file, f"pixels that differ from neutral in: {edited.alt}", against=neutral.file)


def _score(row: Row | None, column: str) -> float | None:
    value = (row or {}).get(column)
    return None if value is None or pd.isna(value) else float(value)


def _prob(row: Row, attribute: str) -> float | None:
    return _score(row, f"prob_{attribute}")


def _said(attribute: str, prob: float | None) -> str:
    return "" if prob is None else f"; classifier: {words(attribute)} {prob:.2f}"
