"""Computes CFRT from the authors' prediction files, and checks their neutral scores."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from latentpath.errors import UserError
from latentpath.metrics.cfrt import Rate
from latentpath.metrics.predictions import Predictions
from latentpath.metrics.scored import Scored, Sweep
from latentpath.metrics.tables import Cell, cfrt_rates, rate_table

_ACROSS_IMAGES = ("cfrt_strict", "dominant_images", "all_strict")  # what one file cannot tell
_SAME = 1e-3  # apart at most: scores of one image, decoded and judged twice


def cfrt_of_predictions(
    files: Sequence[Predictions],
    positions: Sequence[int] | None = None,
    *,
    threshold: float = 0.5,
) -> pd.DataFrame:
    """Return the `cfrt_table` of files of one method.

    The released definition and most conditions compare heads on one image, so they need only the attribute's
    own file with its neutral scores. The strict definition compares images toward different attributes, so it
    needs a file toward each head and one neutral image per seed; seeds on whose neutral scores the files
    differ are left out. The files hold no class scores, so the strict figure omits the condition that the
    class is kept.
    """
    cells = []
    for cls in dict.fromkeys(one.cls for one in files):
        together = [one for one in files if one.cls == cls]
        merged, heads = _merged(together), tuple(dict.fromkeys(h for one in together for h in one.heads))
        for one in together:
            try:
                strong = Sweep(Scored(one.rows, one.heads, [cls]), one.method).positions(positions)
            except UserError as error:
                raise UserError(f"{one.file}: {error}") from None
            own = _rates(Scored(one.rows, one.heads, [cls], threshold), one, strong)
            across = _rates(Scored(merged, heads, [cls], threshold), one, strong)
            rates = {name: across[name] if name in _ACROSS_IMAGES else rate for name, rate in own.items()}
            rates["class_kept"] = replace(own["class_kept"], reason="the files hold no class scores")
            key = {"class": cls, "attribute": one.attribute, "method": one.method}
            cells.append(Cell(key | {"positions": list(strong)}, rates))
    return rate_table(cells)


def scope(files: Sequence[Predictions]) -> list[str]:
    """Say which definition can be computed from which files, and why, in sentences."""
    places: dict[str, list[str]] = {}
    for method, cls in dict.fromkeys((file.method, file.cls) for file in files):
        group = [file for file in files if (file.method, file.cls) == (method, cls)]
        heads = list(dict.fromkeys(head for file in group for head in file.heads))
        absent = [head for head in heads if head not in {file.attribute for file in group}]
        if absent:
            why = (
                "released only. Strict compares the image toward an attribute with those toward all others, "
                f"and there is no file toward {', '.join(absent)}."
            )
        else:
            why = (
                f"released and strict, for there is a file toward each of {', '.join(heads)}. Strict goes "
                "without 'class kept', as the files hold no class scores."
            )
        places.setdefault(why, []).append(f"{method} {cls}".strip())
    return [f"{', '.join(where)}: {why}" for why, where in places.items()]


def neutral_faults(files: Sequence[Predictions]) -> list[str]:
    """Describe errors in the neutral scores of a set of files, in sentences.

    Two classes with the same neutral scores (a baseline used twice), and files of one class that differ.
    """
    faults, borrowed = [], {}
    for i, one in enumerate(files):
        for other in files[:i]:
            a, b = one.neutral.align(other.neutral, join="inner")
            if one.method != other.method or a.isna().all(axis=None):
                continue
            differ = int(((a - b).abs() > _SAME).any(axis=1).sum())
            if one.cls == other.cls and differ:
                faults.append(
                    f"{one.file} and {other.file} differ on the neutral image of {differ} of {len(a)} seeds; "
                    "strict leaves these seeds out."
                )
            if one.cls != other.cls and not differ:
                borrowed.setdefault((one.method, one.cls, other.cls), {})[one.file] = None
    for (method, cls, owner), names in borrowed.items():
        faults.append(
            f"{method} {cls}: the neutral scores are {owner}'s in {', '.join(names)}. Changes of {cls} "
            f"are measured from an image of {owner} there."
        )
    return faults


def _rates(scored: Scored, one: Predictions, positions: Sequence[int]) -> dict[str, Rate]:
    """Return every figure of one file's attribute."""
    arrays = Sweep(scored, one.method).arrays(one.cls, positions)
    return cfrt_rates(arrays, scored.heads, list(scored.heads).index(one.attribute), scored.threshold)


def _merged(files: Sequence[Predictions]) -> pd.DataFrame:
    """Return all edits, and the neutral row of each seed on which the files agree."""
    rows = pd.concat([file.rows for file in files], ignore_index=True)
    neutral = rows[rows["method"] == "neutral"]
    heads = [column for column in rows if str(column).startswith("prob_")]
    of_seed = neutral.groupby("seed")[heads]
    agree = ~((of_seed.max() - of_seed.min()) > _SAME).any(axis=1)
    first = neutral.drop_duplicates("seed")
    return pd.concat([first[first["seed"].map(agree)], rows[rows["method"] != "neutral"]], ignore_index=True)
