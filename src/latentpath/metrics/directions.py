"""Straightness of a trajectory: cosines between directions in latent space, path over chord, curvature.

`neutral` is the neutral latent z_0 of a seed, any shape (...); `trajectory` (K, ...) its latents at
`swap_steps` (K,), in any order; both on the CPU. The weakest edit is the largest swap step. The path runs
z_0 -> weakest -> ... -> strongest. Computed in float64.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentpath.keys import FINETUNED
from latentpath.metrics.intervals import mean_intervals
from latentpath.metrics.measures import measures_in

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


def direction_cosines(
    neutral: ArrayLike,
    trajectory: ArrayLike,
    swap_steps: Sequence[int],
    *,
    reference: Literal["strongest", "weakest"] = "strongest",
) -> Array:
    """cos( z_ref - z_0, z_s - z_0 ) of every swap step s: (K,) in [-1, 1], in the order of `swap_steps`.

    'weakest' takes the latest swap as z_ref, as the paper does (1.0 there, falling toward early swaps);
    'strongest' the earliest. NaN if a latent equals the neutral one: a zero vector has no direction.
    Source: the paper, cosine similarity of trajectory directions; poster, figure 6.
    """
    offsets = _offsets(neutral, trajectory, swap_steps)
    pick = {"strongest": np.argmin, "weakest": np.argmax}[reference]
    return _cosine(offsets[pick(np.asarray(swap_steps))], offsets)


def consecutive_cosines(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> Array:
    """Cosine between each step of the path and the next: (K-1,), from the weak end to the strong end.

    1 everywhere is a straight line; NaN if a step has length 0.
    """
    steps = _path_steps(neutral, trajectory, swap_steps)
    return _cosine(steps[:-1], steps[1:])


def curvature(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> float:
    """Mean turning angle between consecutive steps of the path, in degrees: 0 straight, 180 back and forth.

        mean_k arccos( cos( z_k - z_{k-1}, z_{k+1} - z_k ) ),  k = 1..K-1

    An angle next to a step of length 0 does not exist and is left out; NaN if none exists, as with K = 1.
    For scale: a random walk of independent steps turns by 90 degrees, and points drawn independently around
    the neutral latent by 120, for each step then goes back on the one before (cosine -1/2).
    """
    angles = np.degrees(np.arccos(consecutive_cosines(neutral, trajectory, swap_steps)))
    known = np.isfinite(angles)
    return float(angles[known].mean()) if known.any() else float("nan")


def path_over_chord(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> float:
    """sum_k |z_k - z_{k-1}| / |z_K - z_0| along z_0 -> weakest -> ... -> strongest: >= 1, 1 if straight.

    NaN if the strongest latent equals the neutral one.
    """
    steps = _path_steps(neutral, trajectory, swap_steps)
    chord = float(np.linalg.norm(steps.sum(axis=0), axis=-1))
    return float(np.linalg.norm(steps, axis=1).sum() / chord) if chord > 0 else float("nan")


def latent_distances(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> Array:
    """|z_s - z_0|, the L2 distance from the neutral latent: (K,) >= 0, in the order of `swap_steps`."""
    return np.linalg.norm(_offsets(neutral, trajectory, swap_steps), axis=1)


def geometry_table(rows: "pd.DataFrame", latents: ArrayLike) -> "pd.DataFrame":
    """Return the geometry of stored trajectories: class, seed, attribute, swap_step, figure, value.

    `rows`: rows of traverse/index.parquet of one seed or more, each with its 'neutral' row; `latents` (rows,
    ...) in the same order. Only the plain swaps take part. Per swap step the figures `distance`,
    `cosine_strongest`, `cosine_weakest` and `cosine_next` (between the step of the path that ends here and
    the next; none at the strongest); per trajectory, with an empty swap_step, `path_over_chord` and
    `curvature`.
    Raises ValueError for a seed without exactly one neutral latent.
    """
    import pandas as pd

    z = np.asarray(latents)
    if len(rows) != len(z):
        raise ValueError(f"{len(rows)} rows tell of {len(z)} latents")
    columns = ["class", "seed", "attribute", "swap_step", "figure", "value"]
    table = []
    for (cls, seed), of_seed in rows.reset_index(drop=True).groupby(["class", "seed"], sort=False):
        neutral = of_seed.index[of_seed["method"] == "neutral"]
        if len(neutral) != 1:
            raise ValueError(f"class {cls}, seed {seed}: {len(neutral)} neutral latents, not 1")
        swaps = of_seed[of_seed["method"] == "swap"].sort_values("swap_step", ascending=False)
        for attribute, path in swaps.groupby("attribute", sort=False):
            steps = path["swap_step"].tolist()  # weakest first
            args = (z[neutral[0]], z[path.index].astype(np.float64), steps)
            figures = {
                "distance": latent_distances(*args),
                "cosine_strongest": direction_cosines(*args, reference="strongest"),
                "cosine_weakest": direction_cosines(*args, reference="weakest"),
                "cosine_next": consecutive_cosines(*args),
            }
            key = (cls, seed, attribute)
            table += [
                (*key, step, name, value)
                for name, values in figures.items()
                for step, value in zip(steps, values, strict=False)  # none of cosine_next at the strongest
            ]
            table.append((*key, pd.NA, "path_over_chord", path_over_chord(*args)))
            table.append((*key, pd.NA, "curvature", curvature(*args)))
    return pd.DataFrame(table, columns=columns).astype({"swap_step": "Int64"})


def image_distances(scores: "pd.DataFrame", *, model: str = FINETUNED) -> "pd.DataFrame":
    """Return the distances of the plain swaps' images from neutral, in the format of `geometry_table`.

    The figures are the measures of `metrics.measures`, taken from the rows of scores.parquet.

    A figure that no image has is left out.
    """
    swaps = scores[(scores["method"] == "swap") & (scores["model"] == model)]
    keys = ["class", "seed", "attribute", "swap_step"]
    known = [figure for figure in measures_in(scores) if swaps[figure].notna().any()]
    return swaps.melt(keys, known, var_name="figure", value_name="value")


def geometry_bands(table: "pd.DataFrame") -> "pd.DataFrame":
    """Summarize `geometry_table` or `image_distances` over seeds.

    Columns: class, attribute, figure, swap_step, mean, low, high, q10, q50, q90, n.

    low, high: 95 % interval of the mean (see `metrics.intervals`). q10, q50, q90: quantiles over the seeds.
    n: the seeds that have a value; seeds without a direction are left out. NaN if no seed has a value.
    """
    import pandas as pd

    keys = ["class", "attribute", "figure", "swap_step"]
    table = table.assign(swap_step=table["swap_step"].fillna(-1))  # pivot drops what has no key
    figures = pd.MultiIndex.from_frame(table[keys].drop_duplicates())  # in the order of the table
    wide = table.pivot(index="seed", columns=keys, values="value").reindex(columns=figures)
    low, high = mean_intervals(wide.to_numpy(dtype=np.float64))
    out = figures.to_frame(index=False).assign(mean=wide.mean().to_numpy(), low=low, high=high)
    out[["q10", "q50", "q90"]] = wide.quantile([0.1, 0.5, 0.9]).to_numpy().T
    out = out.assign(n=wide.notna().sum().to_numpy())
    steps = out["swap_step"].astype("Int64")
    return out.assign(swap_step=steps.mask(steps == -1))


def _offsets(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> Array:
    z_0, z = np.asarray(neutral, dtype=np.float64), np.asarray(trajectory, dtype=np.float64)
    if z.shape != (len(swap_steps), *z_0.shape) or len(swap_steps) == 0:
        raise ValueError(f"trajectory must be ({len(swap_steps)}, *{z_0.shape}), K >= 1; got {z.shape}")
    return (z - z_0).reshape(len(z), -1)  # (K, d)


def _path_steps(neutral: ArrayLike, trajectory: ArrayLike, swap_steps: Sequence[int]) -> Array:
    offsets = _offsets(neutral, trajectory, swap_steps)
    weakest_first = np.argsort(swap_steps)[::-1]
    return np.diff(offsets[weakest_first], axis=0, prepend=np.zeros_like(offsets[:1]))  # (K, d)


def _cosine(a: Array, b: Array) -> Array:
    """(..., d) and (K, d) -> (K,); NaN if a norm is zero."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.where(norms > 0, (a * b).sum(axis=-1) / np.where(norms > 0, norms, 1), np.nan).clip(-1, 1)
