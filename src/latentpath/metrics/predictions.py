"""Reads prediction files in the format of the paper's authors: one CSV per target attribute.

    seed, path, neutral_hairs, neutral_ink, ..., 5_hairs, 5_ink, ..., 45_ink     swaps at steps 5, ..., 45
    seed, disease, 0_hairs, 0_ink, ..., 49_hairs, 49_ink                         frames of a curve, 0 neutral

A row a seed, a column for each head at each position, <position>_<head> or <head>_<position>. Other columns
are not read: in the published files `path` and `disease` name another file's images. Which attribute the
prompt swapped to stands in the file's name only, as in melanoma_ink_predictions.csv.
Source: tehraninasab/sd-latent-traversal, metrics/cfrt.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from latentpath.errors import UserError
from latentpath.keys import INTERPOLATIONS

_NO_CLASS = {
    *INTERPOLATIONS,
    "interpolations",
    "interpolation",
    "predictions",
    "prediction",
    "scores",
    "swaps",
    "swap",
}


@dataclass(frozen=True)
class Predictions:
    """One file: images of class `cls` ('' if unknown) toward `attribute`, as rows of scores."""

    file: str
    cls: str
    attribute: str
    method: str  # 'swap', or the curve's name, by default bezier as in the paper
    heads: tuple[str, ...]
    rows: pd.DataFrame

    @property
    def neutral(self) -> pd.DataFrame:
        """The neutral scores (seeds, heads), indexed by seed."""
        rows = self.rows[self.rows["method"] == "neutral"].set_index("seed")
        return rows[[f"prob_{head}" for head in self.heads]]


def as_predictions(table: pd.DataFrame, file: str, attribute: str | None = None) -> Predictions:
    """Check a table in the authors' format. `attribute`: the target, by default from the file's name.

    Raises UserError that names file, column, row and value.
    """
    found: dict[tuple[int, str], str] = {}  # (position, head) -> column; the neutral image is position -1
    for column in map(str, table.columns):
        if (key := _position_and_head(column)) is None:
            continue
        if key in found:
            raise UserError(
                f"{file}: the columns {found[key]!r} and {column!r} say the same thing; remove one."
            )
        found[key] = column
    heads = tuple(dict.fromkeys(head for _, head in found))
    positions = sorted({position for position, _ in found})
    swaps = -1 in positions
    if "seed" not in table or len(positions) < 2 or not (swaps or positions[0] == 0):
        raise UserError(
            f"{file}: expected a column seed, and a column for each head on the neutral image and at each "
            "position, as neutral_hair, 5_hair, 10_hair (swap steps; hair_neutral, hair_5 will do) or 0_hair,"
            f" 1_hair (frames of a curve, 0 the neutral image); the columns are {_some(table.columns)}."
        )
    for position in positions:
        if absent := [head for head in heads if (position, head) not in found]:
            where = "on the neutral image" if position == -1 else f"at position {position}"
            raise UserError(f"{file}: no column of {', '.join(absent)} {where}; other positions have one.")
    words = _words(Path(file).stem)
    name = attribute or _attribute_of(words, heads, file)
    if name not in heads:
        raise UserError(f"{file}: no column of the attribute {name!r}; its heads are {', '.join(heads)}.")
    scores = {key: _probabilities(table[column], column, file) for key, column in found.items()}
    method = "swap" if swaps else next((curve for curve in INTERPOLATIONS if curve in words), "bezier")
    cls = "_".join(w for w in _without(words, _words(name)) if w not in _NO_CLASS)
    seeds, parts = _seeds(table["seed"], file), []
    for position in [positions[0], *positions[swaps:]]:  # frame 0 is both: the neutral image, and a frame
        neutral = not parts
        part = pd.DataFrame({f"prob_{head}": scores[position, head] for head in heads})
        part.insert(0, "seed", seeds)
        part = part.assign(method="neutral" if neutral else method, attribute="" if neutral else name)
        parts.append(part.assign(**{"swap_step" if swaps else "frame": -1 if neutral else position}))
    rows = pd.concat(parts, ignore_index=True)
    rows.insert(0, "class", cls)
    return Predictions(file, cls, name, method, heads, rows)


def _position_and_head(column: str) -> tuple[int, str] | None:
    first = re.fullmatch(r"(neutral|\d+)_(.+)", column.strip())
    last = re.fullmatch(r"(.+)_(neutral|\d+)", column.strip())
    if first is None and last is None:
        return None
    position, head = first.groups() if first else (last[2], last[1])  # pyright: ignore[reportOptionalSubscript]
    return -1 if position == "neutral" else int(position), head


def _attribute_of(words: list[str], heads: Sequence[str], file: str) -> str:
    """Return the head in the file's name; of 'bubble' and 'gel_bubble' the longer one."""
    named = [head for head in heads if _without(words, _words(head)) != words]
    named = [
        h for h in named if not any(h != o and _without(_words(o), _words(h)) != _words(o) for o in named)
    ]
    if len(named) != 1:
        says = "names none" if not named else "names " + " and ".join(named)
        raise UserError(
            f"{file}: the attribute that the prompt swapped to is read from the file's name, which {says} of "
            f"its heads ({', '.join(heads)}); say which: --attribute {(named or heads)[0]}={file}"
        )
    return named[0]


def _probabilities(column: pd.Series, name: str, file: str) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = column.notna().to_numpy() & ~((values >= 0) & (values <= 1))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{file}, line {at + 2}, column {name}: expected a probability from 0 to 1, or nothing; "
            f"found {str(column.iloc[at])!r}."
        )
    return values


def _seeds(column: pd.Series, file: str) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~(np.isfinite(values) & (values == np.round(values)))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{file}, line {at + 2}, column seed: expected a whole number; found {str(column.iloc[at])!r}."
        )
    seeds = pd.Series(values.astype(np.int64))
    if seeds.duplicated().any():
        twice = seeds[seeds.duplicated()].iloc[0]
        lines = [int(i) + 2 for i in seeds.index[seeds == twice][:2]]
        raise UserError(
            f"{file}, lines {lines[0]} and {lines[1]}, column seed: {twice} stands twice; "
            "expected one row for each seed."
        )
    return seeds.to_numpy()


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]


def _without(words: list[str], part: list[str]) -> list[str]:
    """Return `words` without the first consecutive occurrence of `part`."""
    for i in range(len(words) - len(part) + 1):
        if words[i : i + len(part)] == part:
            return words[:i] + words[i + len(part) :]
    return words


def _some(columns) -> str:
    names = [str(name) for name in columns]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
