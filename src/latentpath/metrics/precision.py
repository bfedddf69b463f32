"""Splits a figure's variance by runs, judges and seeds, and computes how many of each are needed.

More seeds shorten an interval over seeds; they do not say how far the figure moves when the model is
fine-tuned again or the judge trained again. A study with several of each can tell these apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from latentpath.metrics.intervals import mid_p, overall_samples

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Components:
    """Variances of one figure between runs, judges and seeds, and the residual; NaN if there is only one."""

    run: float
    judge: float
    seed: float
    residual: float

    def variance(self, runs: int, judges: int, seeds: int) -> float:
        """Return the variance of the figure's mean over R runs, J judges and S seeds.

            run / R + judge / J + seed / S + residual / (R J S)

        A component that is NaN, because it was never varied, counts as 0: the variance is then a lower bound.
        """
        parts = (
            self.run / runs,
            self.judge / judges,
            self.seed / seeds,
            self.residual / (runs * judges * seeds),
        )
        return float(np.nansum(parts))


def variance_components(values: ArrayLike) -> Components:
    """Estimate the components from the figure of every run, judge and seed, values (R, J, S), fully crossed.

        v_rjs = mean + run_r + judge_j + seed_s + e_rjs
        E[ MS_run ] = e + J S run,   E[ MS_judge ] = e + R S judge,   E[ MS_seed ] = e + R J seed

    each solved for its component, and 0 where that is negative. Interactions are part of the residual. NaN
    for a factor of a single level; the residual is NaN if fewer than two factors vary, and the component
    then holds it.
    Raises ValueError unless values are (R, J, S), finite, with two levels of something.
    Source: Searle, Casella and McCulloch 1992, chapter 4 (method of moments).
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 3 or not np.isfinite(v).all() or v.size < 2:
        raise ValueError(f"values are (runs, judges, seeds), all finite and two or more; got {v.shape}")
    grand, squares, degrees = v.mean(), {}, {}
    rest = v - grand
    for axis, name in enumerate(("run", "judge", "seed")):
        others = tuple(a for a in range(3) if a != axis)
        effect = v.mean(axis=others, keepdims=True) - grand
        squares[name] = float((effect**2).sum()) * v.size / v.shape[axis]
        degrees[name] = v.shape[axis] - 1
        rest = rest - effect
    left = v.size - 1 - sum(degrees.values())
    residual = float((rest**2).sum()) / left if left > 0 else float("nan")
    found = {}
    for axis, name in enumerate(("run", "judge", "seed")):
        if degrees[name] == 0:
            found[name] = float("nan")
            continue
        mean_square = squares[name] / degrees[name]
        error = residual if left > 0 else 0.0
        found[name] = max(0.0, (mean_square - error) * v.shape[axis] / v.size)
    return Components(**found, residual=residual)


def seeds_needed(values: ArrayLike, half_width: float, *, most: int = 1_000_000) -> int | None:
    """Return how many seeds give a mean of rates an interval this wide, if they vary like the given seeds.

        the smallest S whose interval, `intervals.mid_p` of the rate and S n / s samples, is 2 half_width wide

    values (s, F): a rate of each seed and cell, NaN left out; the figure is their mean over cells, and n
    samples are what the s seeds are worth to it (`intervals.overall_samples`). Seeds that all agree thus do
    not promise that two are enough. None if fewer than two have a value, or more than `most` are needed.
    Raises ValueError unless half_width > 0.
    """
    if not half_width > 0:
        raise ValueError(f"half_width must be above 0, got {half_width}")
    v = np.asarray(values, dtype=np.float64)
    rate, samples = overall_samples(v)
    each = samples / np.isfinite(v).any(axis=1).sum()
    low, high = 2, most  # the half-width falls as S grows
    if not _half(rate, most * each) <= half_width:
        return None
    while low < high:
        middle = (low + high) // 2
        if _half(rate, middle * each) <= half_width:
            high = middle
        else:
            low = middle + 1
    return low


def _half(rate: float, samples: float) -> float:
    low, high = mid_p(np.array([rate]), np.array([samples]))
    return float(high[0] - low[0]) / 2


def seeds_table(of_seeds: "pd.DataFrame", half_width: float) -> "pd.DataFrame":
    """Say of each figure how many seeds its interval needs: on the mean over cells, and on the hardest cell.

    of_seeds: rows class, attribute, figure, seed, value (`metrics.tables.cfrt_of_seeds`). Columns: figure,
    value, half_width (of the mean over cells, as the seeds are), seeds, needed (for the mean over cells),
    cell ("<class> <attribute>"), cell_needed (for that cell, which needs most). needed and cell_needed are
    <NA> where `seeds_needed` is None. Figures that no seed has are left out.
    """
    import pandas as pd

    rows = []
    for figure, wide in _by_figure(of_seeds):
        seeds = int(wide.notna().any(axis=1).sum())
        if not seeds:
            continue
        each = {cell: seeds_needed(wide[[cell]], half_width) for cell in wide}
        known = {cell: needed for cell, needed in each.items() if needed is not None}
        hardest = max(known, key=lambda cell: known[cell], default="")
        half = _half(*overall_samples(wide))
        row = {"figure": figure, "value": wide.mean().mean(), "half_width": half, "seeds": seeds}
        row |= {"needed": seeds_needed(wide, half_width), "cell": hardest, "cell_needed": known.get(hardest)}
        rows.append(row)
    columns = ["figure", "value", "half_width", "seeds", "needed", "cell", "cell_needed"]
    return pd.DataFrame(rows, columns=columns).astype({"needed": "Int64", "cell_needed": "Int64"})


def variance_table(of_runs: Mapping[tuple[str, str], "pd.DataFrame"]) -> "pd.DataFrame":
    """Split the variance of each figure's mean over cells by runs, judges and seeds.

    of_runs: (run, judge) -> rows as in `seeds_table`, of every run with every judge. Seeds that are not in
    all of them are left out. Columns: figure, value, runs, judges, seeds; sd_run, sd_judge, sd_seed, sd_rest
    (NaN for what was not varied); share_run, share_judge, share_seed of the variance that the figure of one
    run, one judge and these seeds has, the rest counted with the seeds; half_width, 1.96 times the root of
    that variance; endless, the same for infinitely many seeds.
    Raises ValueError where a run lacks a judge.
    """
    import pandas as pd

    runs, judges = (list(dict.fromkeys(key[i] for key in of_runs)) for i in (0, 1))
    if lacking := [(r, j) for r in runs for j in judges if (r, j) not in of_runs]:
        raise ValueError(f"there is no run {lacking[0][0]} with the judge {lacking[0][1]}")
    means = {
        key: {figure: wide.mean(axis=1).dropna() for figure, wide in _by_figure(table)}
        for key, table in of_runs.items()
    }
    rows = []
    for figure in next(iter(means.values())):
        each = [means[r, j].get(figure, pd.Series(dtype=float)) for r in runs for j in judges]
        wide = pd.concat(each, axis=1, join="inner")
        if len(wide) == 0 or wide.size < 2:
            continue
        v = wide.to_numpy(np.float64).T.reshape(len(runs), len(judges), len(wide))
        c = variance_components(v)
        parts = np.nan_to_num([c.run, c.judge, (c.seed + np.nan_to_num(c.residual)) / len(wide)])
        share = parts / parts.sum() if parts.sum() > 0 else np.full(3, np.nan)
        row = {"figure": figure, "value": v.mean(), "runs": len(runs), "judges": len(judges)}
        row |= {"seeds": len(wide)}
        row |= {f"sd_{k}": x**0.5 for k, x in zip(("run", "judge", "seed", "rest"), _all(c), strict=True)}
        row |= {f"share_{k}": x for k, x in zip(("run", "judge", "seed"), share, strict=True)}
        rows.append(row | {"half_width": 1.96 * parts.sum() ** 0.5, "endless": 1.96 * parts[:2].sum() ** 0.5})
    return pd.DataFrame(rows)


def _all(c: Components) -> tuple[float, float, float, float]:
    return c.run, c.judge, c.seed, c.residual


def _by_figure(of_seeds: "pd.DataFrame") -> Iterator[tuple[str, "pd.DataFrame"]]:
    """Yield each figure with its values: one row per seed, a column for each cell."""
    for figure, rows in of_seeds.groupby("figure", sort=False):
        rows = rows.assign(cell=rows["class"].astype(str) + " " + rows["attribute"].astype(str))
        yield str(figure), rows.pivot(index="seed", columns="cell", values="value")
