"""Every figure of the tables, from the scores alone: the content of `evaluate/metrics.json`.

    classes, attributes, num_inference_steps, swap_steps, strong_swap_steps, threshold
    cfrt.<method>.<class>.<attribute>        released, strict, and each condition alone: flip, dominance,
                                             class_kept, others_kept, dominance_images,
                                             all_released, all_strict, already_present; of each also
                                             <figure>_low and _high, its 95 % interval over seeds; count of
                                             seeds; undefined: {figure: why}
    cfrt_mean.<method>                       the same figures, each the mean over classes and attributes where
                                             it is defined, with _low and _high
    perceptual.<method>.<class>.<attribute>  lpips_<net>, ssim, l1: neutral against every point, mean
    flip_curve.<class>.<attribute>.<step>    rate (share above the threshold), prob (mean),
                                             others (mean of other heads)
    cosine.<class>.<attribute>.<step>        strongest, weakest: mean cosine to that reference direction
    faithfulness.<model>.<class>.<attribute> target (share present at the strongest swap),
                                             neutral (share absent)
    edits                                    a row a kind of edit besides the plain swaps: see metrics.edits
    flip_points.<class>.<attribute>          flips, never, already_present, not_monotone (seeds); median
                                             (step)
    notes                                    what is n/a, and why

<method> is swap, bezier, cubic, slerp or lerp. A figure that is undefined is null, and named under
`undefined` or `notes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from latentpath.keys import BASE, FINETUNED
from latentpath.metrics import Scored, cfrt_means, cfrt_table, edit_table, strong_swap_steps
from latentpath.metrics.measures import measures_in

FIGURES = {
    "released": "cfrt_released",
    "strict": "cfrt_strict",
    "flip": "flipped",
    "dominance": "dominant_heads",
    "dominance_images": "dominant_images",
    "class_kept": "class_kept",
    "others_kept": "others_kept",
    "all_released": "all_released",
    "all_strict": "all_strict",
    "already_present": "already_present",
}


def summarise(
    scored: Scored,
    *,
    attributes: Sequence[str],
    num_inference_steps: int,
    swap_steps: Sequence[int],
    strong: Sequence[int] | None = None,
    flips: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """`attributes` were traversed, a part of the heads; `flips` are flip points that were searched for."""
    classes, heads, threshold, scores = scored.classes, scored.heads, scored.threshold, scored.table
    swap_steps = sorted(swap_steps)
    strong = sorted(strong) if strong else list(strong_swap_steps(swap_steps))
    tuned, methods = scored.rows, scored.trajectories
    positions = {m: strong if m == "swap" else None for m in methods}
    cfrt = {m: _cfrt(scored, attributes, m, positions[m]) for m in methods}
    return {
        "classes": list(classes),
        "attributes": list(attributes),
        "num_inference_steps": num_inference_steps,
        "swap_steps": swap_steps,
        "strong_swap_steps": strong,
        "threshold": threshold,
        "cfrt": cfrt,
        "cfrt_mean": {m: _means(scored, attributes, m, positions[m]) for m in methods},
        "perceptual": {m: _perceptual(tuned, classes, attributes, m) for m in methods},
        "flip_curve": _flip_curve(tuned, classes, attributes, heads, threshold),
        "cosine": _cosine(tuned, classes, attributes),
        "faithfulness": {
            model: _faithfulness(scores[scores["model"] == model], classes, attributes, threshold)
            for model in (BASE, FINETUNED)
            if (scores["model"] == model).any()
        },
        "edits": _edits(scored),
        "flip_points": {} if flips is None or flips.empty else _flip_points(flips),
        "notes": _notes(cfrt),
    }


def _cfrt(scored: Scored, attributes, method, positions) -> dict[str, Any]:
    classes, table = scored.classes, cfrt_table(scored, method, positions)
    records = {(row["class"], row["attribute"]): row for row in table.to_dict("records")}
    out: dict[str, Any] = {c: {} for c in classes}
    for cls in classes:
        for attribute in attributes:
            row = records[cls, attribute]
            column_of = {column: figure for figure, column in FIGURES.items()}
            reasons = dict(part.split(": ", 1) for part in str(row["reason"]).split("; ") if ": " in part)
            out[cls][attribute] = {
                **{
                    figure + end: _number(row[column + end])
                    for figure, column in FIGURES.items()
                    for end in ("", "_low", "_high")
                },
                "count": int(row["n_seeds"]),
                "undefined": {column_of.get(column, column): why for column, why in reasons.items()},
            }
    return out


def _means(scored: Scored, attributes, method, positions) -> dict[str, Any]:
    means = cfrt_means(scored, method, positions, of=attributes)
    return {
        figure + end: _number(means[column + end])
        for figure, column in FIGURES.items()
        for end in ("", "_low", "_high")
    }


def _perceptual(scores, classes, attributes, method) -> dict[str, Any]:
    columns = measures_in(scores)
    # Frame 0 is the neutral image itself: a distance of zero by construction is no evidence.
    rows = scores[(scores["method"] == method) & (scores["frame"].fillna(1) > 0)]
    means = rows.groupby(["class", "attribute"])[columns].mean()
    return {c: {a: {k: _number(means.loc[(c, a), k]) for k in columns} for a in attributes} for c in classes}


def _flip_curve(scores, classes, attributes, heads, threshold) -> dict[str, Any]:
    out: dict[str, Any] = {c: {a: {} for a in attributes} for c in classes}
    swaps = scores[scores["method"] == "swap"]
    for (cls, attribute, step), rows in swaps.groupby(["class", "attribute", "swap_step"]):
        own = rows[f"prob_{attribute}"]
        others = rows[[f"prob_{h}" for h in heads if h != attribute]].stack()
        out[cls][attribute][str(step)] = {
            "rate": _number((own > threshold).mean()),
            "prob": _number(own.mean()),
            "others": _number(others.mean()),
        }
    return out


def _cosine(scores, classes, attributes) -> dict[str, Any]:
    out: dict[str, Any] = {c: {a: {} for a in attributes} for c in classes}
    means = (
        scores[scores["method"] == "swap"]
        .groupby(["class", "attribute", "swap_step"])[["cosine", "cosine_weakest"]]
        .mean()
    )
    for (cls, attribute, step), row in means.iterrows():
        out[cls][attribute][str(step)] = {
            "strongest": _number(row["cosine"]),
            "weakest": _number(row["cosine_weakest"]),
        }
    return out


def _faithfulness(scores, classes, attributes, threshold) -> dict[str, Any]:
    swaps, neutral = scores[scores["method"] == "swap"], scores[scores["method"] == "neutral"]
    strongest = swaps[swaps["swap_step"] == swaps["swap_step"].min()]

    def shares(cls: str, attribute: str) -> dict[str, Any]:
        of_class = strongest[(strongest["class"] == cls) & (strongest["attribute"] == attribute)][
            f"prob_{attribute}"
        ]
        clean = neutral[neutral["class"] == cls][f"prob_{attribute}"]
        return {
            "target": _number((of_class > threshold).mean()),
            "neutral": _number((clean <= threshold).mean()),
            "count": len(of_class),
        }

    return {c: {a: shares(c, a) for a in attributes} for c in classes}


def _edits(scored: Scored) -> list[dict[Any, Any]]:
    table = edit_table(scored)
    records = table[table["method"] != "swap"].to_dict("records")
    shares = ("before", "after", "match", "others_kept", "probability")
    return [{k: _number(v) if k in shares else v for k, v in record.items()} for record in records]


def _flip_points(flips: pd.DataFrame) -> dict[str, Any]:
    out: dict[Any, Any] = {}
    for (cls, attribute), rows in flips.groupby(["class", "attribute"], sort=False):
        counts = rows["status"].value_counts()
        out.setdefault(cls, {})[attribute] = {
            "flips": int(counts.get("flips", 0)),
            "never": int(counts.get("never", 0)),
            "already_present": int(counts.get("already present", 0)),
            "not_monotone": int((rows["contradictions"].map(len) > 0).sum()),
            "median": _number(rows["flip_step"].astype("float64").median()),
        }
    return out


def _notes(cfrt: dict[str, Any]) -> list[str]:
    """One note a reason, not one a cell."""
    places: dict[str, list[str]] = {}
    for method, table in cfrt.items():
        for cls, row in table.items():
            for attribute, cell in row.items():
                for figure, why in cell["undefined"].items():
                    if cell.get(figure) is None:
                        places.setdefault(f"CFRT {figure} is undefined: {why}", []).append(
                            f"{method} {cls} {attribute}"
                        )
    return [
        f"{reason} ({', '.join(where[:4])}{' and others' if len(where) > 4 else ''})"
        for reason, where in places.items()
    ]


def _number(value: Any) -> float | None:
    return None if pd.isna(value) or not math.isfinite(value) else round(float(value), 6)
