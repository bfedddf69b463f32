"""Simulate studies with known truth to measure how far fronts, their intervals and tests can be trusted.

    python experiments/leaderboard/coverage.py [studies] > experiments/leaderboard/results/coverage.csv

Four methods of 12 settings are truly equal. A row is a figure (leak at an effect of 50 %, or area under the
front), numbers of seeds and of cells, and a size of the leak. It has

    truth               the true figure
    error               the mean error of its estimate
    covered             how often its interval contains the truth; width: the interval's mean width
    mean alone          how often the interval of a mean does, which knows nothing of the choice of settings
    bootstrap           how often a percentile bootstrap over seeds does, which chooses anew in each sample
    difference covered  how often the interval of a difference of two methods contains 0
    named               how often one of three differences to the first is named at 5 %: at most 0.05 is right
    named, fewer        the same where the first has fewer settings: those that are corners of the true front,
                        so that it is truly equal still
    named, left out     the same where each seed is measured with the settings that are best on the others
"""

import csv
import sys

import numpy as np
from scipy import stats

from latentpath.metrics.front import (
    area,
    best_of_intervals,
    cheapest,
    edited_share,
    leak_at,
    mean_over_cells,
    on_front,
)
from latentpath.metrics.intervals import mean_intervals
from latentpath.metrics.paired import sign_flips

DIALS, STEPS = (0.6, 0.8, 1.0), (0.25, 0.5, 0.75, 1.0)  # each setting's effect is their product, times 0.95
OTHERS, CORRELATION, METHODS, LEVEL, RESAMPLES = 4, 0.6, 4, 0.5, 200
LEAK, AREA = "leak at 50 %", "area"
MEASURED = ["error", "covered", "width", "mean alone", "bootstrap", "difference covered"]
MEASURED += ["named", "named, fewer", "named, left out"]
Array = np.ndarray


def study(
    rng: np.random.Generator, effect: Array, leak: Array, seeds: int, cells: int
) -> tuple[Array, Array]:
    """Draw one method: effect and leak (S, K), over cells, of settings whose means are those of (K,).

    The settings of a seed are correlated, as they share its noise.
    """
    shape = (seeds, cells, len(effect))

    def correlated(*extra: int) -> Array:
        shared, own = rng.normal(size=(seeds, cells, 1, *extra)), rng.normal(size=(*shape, *extra))
        return np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own

    changed = correlated(OTHERS) < stats.norm.ppf(leak)[:, None]
    shown = correlated() < stats.norm.ppf(effect)
    return mean_over_cells(shown.astype(float)), mean_over_cells(changed.mean(axis=3))


def said(figure: str, effect: Array, leak: Array) -> Array:
    """Return what each seed says of a figure, (S,)."""
    return leak_at(effect, leak, LEVEL) if figure == LEAK else area(effect, leak)


def left_out(effect: Array, leak: Array) -> Array:
    """Return the leak of each seed (S,), with the mixture that is cheapest on the other seeds."""
    values = []
    for s in range(len(effect)):
        e, k = (np.delete(x, s, axis=0).mean(axis=0) for x in (effect, leak))
        best = cheapest(e, k, LEVEL)
        values.append(leak[s] @ best.weights + best.price * (LEVEL - effect[s] @ best.weights))
    return np.array(values)


def bootstrap(rng: np.random.Generator, effect: Array, leak: Array) -> Array:
    """Return the ends of the percentile interval of the leak, whose mixture is chosen in each sample."""
    seeds = len(effect)
    drawn = rng.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES) / seeds
    costs = [cheapest(w @ effect, w @ leak, LEVEL).cost for w in drawn]
    return np.quantile(costs, [0.025, 0.975], method="nearest")


def measure(
    figure: str,
    methods: list[tuple[Array, Array]],
    fewer: tuple[Array, Array],
    truth: float,
    cells: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return what one study says of a figure, by the names of the columns."""
    values, units, ends = np.array([said(figure, *method) for method in methods]).T, [], []  # (S, methods)
    for v, (effect, leak) in zip(values.T, methods, strict=True):
        units.append(edited_share(effect, leak, LEVEL) / OTHERS / cells if figure == LEAK else 1 / cells)
        best = {"highest": figure == AREA, "unit": units[-1], "within": (0, 1)}
        ends.append(np.ravel(best_of_intervals(v[:, None], effect.shape[1], **best)))
    low, high = np.array(ends).T
    apart = values[:, 1:] - values[:, :1]
    row = {
        "error": values.mean() - truth,
        "covered": _holds(low, high, truth),
        "width": (high - low).mean(),
        "mean alone": _holds(*mean_intervals(values), truth),
        "difference covered": _holds(*best_of_intervals(apart, 1, unit=np.maximum(units[1:], units[0])), 0),
        "named": _named(apart),
        "named, fewer": _named(values[:, 1:] - said(figure, *fewer)[:, None]),
    }
    if figure == LEAK:
        row["bootstrap"] = _holds(*bootstrap(rng, *methods[0]), truth)
        others = np.array([left_out(*method) for method in methods]).T
        row["named, left out"] = _named(others[:, 1:] - others[:, :1])
    return row


def _holds(low: Array, high: Array, truth: float) -> float:
    return float(np.mean((low <= truth + 1e-12) & (truth <= high + 1e-12)))


def _named(apart: Array) -> bool:
    return bool((sign_flips(apart, resamples=500)[1] <= 0.05).any())


def main() -> None:
    """Run the simulation and write its table to standard output."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng, draws = np.random.default_rng(0), np.random.default_rng(1)
    effect, rows = 0.95 * np.outer(DIALS, STEPS).ravel(), []
    for size in (0.25, 0.04, 0.01):
        leak = size * effect**2 * (1 + 0.3 * np.sin(2 * np.arange(len(effect))))
        corners = on_front(effect, leak)
        truths = {LEAK: cheapest(effect, leak, LEVEL).cost, AREA: area(effect[None], leak[None]).item()}
        for seeds in (8, 16, 48):
            for cells in (1, 4):
                found = {figure: [] for figure in truths}
                for _ in range(studies):
                    methods = [study(rng, effect, leak, seeds, cells) for _ in range(METHODS)]
                    fewer = study(rng, effect[corners], leak[corners], seeds, cells)
                    for figure, truth in truths.items():
                        found[figure].append(measure(figure, methods, fewer, truth, cells, draws))
                for figure, of in found.items():
                    means = [np.mean([row[name] for row in of]) if name in of[0] else "" for name in MEASURED]
                    shown = [f"{x:.4f}" if x != "" else "" for x in (truths[figure], *means)]
                    rows.append([figure, seeds, cells, *shown, studies])
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["figure", "seeds", "cells", "truth", *MEASURED, "studies"])
    out.writerows(sorted(rows, key=lambda row: row[0] == AREA))


if __name__ == "__main__":
    main()
