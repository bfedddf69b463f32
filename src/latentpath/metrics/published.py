"""The paper's published CFRT figures, and a test of which definition reproduces them.

Two sources, both of the authors, which differ by more than 0.01 in four of twenty figures:
- `poster`: the published table, two digits, "2,500 samples per sub-class" (MIV workshop at CVPR 2025);
- `notebook`: what the notebooks of the released repository printed, unrounded, where they computed the
  released definition: notebooks/isic_cfrt.ipynb (In [7] and [9]), chexpert_binary_classifier_eval.ipynb,
  chexpert_interpolation_eval.ipynb of tehraninasab/sd-latent-traversal. The dermoscopic figures are of 1,000
  seeds each.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Half a unit of the last digit would do if all had been rounded; at least one was cut off (0.956 -> 0.95).
POSTER_TOLERANCE, NOTEBOOK_TOLERANCE = 0.01, 0.0005


@dataclass(frozen=True)
class PublishedCfrt:
    """One CFRT of the paper, as on its poster and as in the notebook of its released code."""

    poster: float
    notebook: float


# (method, class, attribute) as `_key` writes them
_CFRT = {
    ("swap", "", "pleural effusion"): PublishedCfrt(0.78, 0.7812),
    ("swap", "", "support device"): PublishedCfrt(0.89, 0.88804),
    ("swap", "mel", "hair"): PublishedCfrt(0.91, 0.907),
    ("swap", "mel", "gel bubble"): PublishedCfrt(0.99, 0.985),
    ("swap", "mel", "ink"): PublishedCfrt(0.59, 0.412),
    ("swap", "mel", "ruler"): PublishedCfrt(0.74, 0.721),
    ("swap", "nv", "hair"): PublishedCfrt(0.86, 0.855),
    ("swap", "nv", "gel bubble"): PublishedCfrt(0.97, 0.973),
    ("swap", "nv", "ink"): PublishedCfrt(0.71, 0.511),
    ("swap", "nv", "ruler"): PublishedCfrt(0.95, 0.956),
    ("bezier", "", "pleural effusion"): PublishedCfrt(0.73, 0.73005),
    ("bezier", "", "support device"): PublishedCfrt(0.86, 0.86324),
    ("bezier", "mel", "hair"): PublishedCfrt(0.88, 0.876),
    ("bezier", "mel", "gel bubble"): PublishedCfrt(0.99, 0.992),
    ("bezier", "mel", "ink"): PublishedCfrt(0.62, 0.620),
    ("bezier", "mel", "ruler"): PublishedCfrt(0.79, 0.791),
    ("bezier", "nv", "hair"): PublishedCfrt(0.93, 0.930),
    ("bezier", "nv", "gel bubble"): PublishedCfrt(0.99, 0.993),
    ("bezier", "nv", "ink"): PublishedCfrt(0.72, 0.682),
    ("bezier", "nv", "ruler"): PublishedCfrt(0.97, 0.975),
}
_CLASSES = {"melanoma": "mel", "nevus": "nv", "nevi": "nv", "melanocytic nevus": "nv"}
_CHEST = {"pleural effusion", "support device"}


def published_cfrt(method: str, cls: str, attribute: str) -> PublishedCfrt | None:
    """Return the paper's CFRT or None. Names may have any spelling: NV or nevus, gel_bubble or Gel bubbles.

    `method` is 'swap' or 'bezier'; the chest figures are of no class.
    """
    return _CFRT.get(_key(method, cls, attribute))


def compare_with_published(table: pd.DataFrame) -> pd.DataFrame:
    """Compare rows of a `cfrt_table` with the paper's figures: which definition reproduces which?

    Columns: class, attribute, method, poster, notebook, released, strict (the values here),
    released_minus_poster, strict_minus_poster, released_minus_notebook, and `reproduces_poster`,
    `reproduces_notebook`: 'released', 'strict', 'released, strict' or ''. A definition reproduces the poster
    within 0.01 (two digits, rounded or cut off), the notebook, which is of the released definition alone,
    within 0.0005.
    """
    rows = []
    for row in table.to_dict("records"):
        theirs = published_cfrt(row["method"], row["class"], row["attribute"])
        if theirs is None:
            continue
        here = {name: row[f"cfrt_{name}"] for name in ("released", "strict")}
        off = {name: value - theirs.poster for name, value in here.items()}
        close = [name for name, value in off.items() if abs(value) < POSTER_TOLERANCE]  # NaN is not
        off_notebook = here["released"] - theirs.notebook
        rows.append(
            {name: row[name] for name in ("class", "attribute", "method")}
            | {"poster": theirs.poster, "notebook": theirs.notebook}
            | here
            | {f"{name}_minus_poster": value for name, value in off.items()}
            | {"released_minus_notebook": off_notebook, "reproduces_poster": ", ".join(close)}
            | {"reproduces_notebook": "released" if abs(off_notebook) < NOTEBOOK_TOLERANCE else ""}
        )
    return pd.DataFrame(rows)


def verdict(comparison: pd.DataFrame) -> str:
    """Summarize the comparison in one or two sentences; '' if there is nothing to compare."""
    if comparison.empty:
        return ""
    total = len(comparison)
    parts = []
    for name in ("released", "strict"):
        off = comparison[f"{name}_minus_poster"].abs()
        if off.notna().any():
            hits = comparison["reproduces_poster"].str.contains(name).sum()
            parts.append(
                f"the {name} definition reproduces {hits} of {total} figures of the poster within "
                f"{POSTER_TOLERANCE:g} (largest difference {np.nanmax(off):.3f})"
            )
        else:
            parts.append(f"the {name} definition cannot be computed")
    hits = (comparison["reproduces_notebook"] != "").sum()
    parts.append(
        f"the released definition reproduces {hits} of {total} figures of the authors' notebooks within "
        f"{NOTEBOOK_TOLERANCE:g}"
    )
    sentence = "; ".join(parts) + "."
    return sentence[:1].upper() + sentence[1:]


def _key(method: str, cls: str, attribute: str) -> tuple[str, str, str]:
    cls, attribute = (re.sub(r"[\W_]+", " ", name).strip().lower() for name in (cls, attribute))
    attribute = attribute.removesuffix("s")
    return method, "" if attribute in _CHEST else _CLASSES.get(cls, cls), attribute
