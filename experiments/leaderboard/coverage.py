"""Simulate studies with known truth to measure how far leaks at equal effect can be trusted.

    python experiments/leaderboard/coverage.py [studies] > experiments/leaderboard/results/coverage.csv

Four methods are truly equal. Prints one row per number of seeds, number of cells, size of the leak, and
number of settings of the first method (the others have 12): the true leak at an effect of 50 %, the mean
error of its estimate, how often its interval contains the truth, the mean difference of two methods, and how
often at least one of the three differences to the first method is named at 5 %, which should be at most 0.05.
"""

import csv
import sys

import numpy as np
from scipy import stats

from latentpath.metrics.front import cheapest, leak_at, mean_over_cells
from latentpath.metrics.intervals import mean_intervals
from latentpath.metrics.paired import sign_flips

DIALS, STEPS = (0.6, 0.8, 1.0), (0.25, 0.5, 0.75, 1.0)  # each setting's effect is their product, times 0.95
OTHERS, CORRELATION, METHODS, LEVEL = 4, 0.6, 4, 0.5


def study(rng: np.random.Generator, effect: np.ndarray, leak: np.ndarray, seeds: int, cells: int):
    """Draw one method: effect and leak (S, C, K) of settings whose means are `effect` and `leak` (K,).

    The settings of a seed are correlated, as they share its noise.
    """
    shape = (seeds, cells, len(effect))

    def correlated(*extra: int) -> np.ndarray:
        shared, own = rng.normal(size=(seeds, cells, 1, *extra)), rng.normal(size=(*shape, *extra))
        return stats.norm.cdf(np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own)

    changed = correlated(OTHERS) < leak[:, None]
    return (correlated() < effect).astype(float), changed.mean(axis=3)


def main() -> None:
    """Run the simulation and write its table to standard output."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    rng = np.random.default_rng(0)
    effect = 0.95 * np.outer(DIALS, STEPS).ravel()
    out = csv.writer(sys.stdout, lineterminator="\n")
    names = ["seeds", "cells", "true leak", "settings of the first", "mean error", "covered"]
    out.writerow([*names, "mean difference", "named wrongly", "studies"])
    for size in (0.25, 0.04):
        leak = size * effect**2 * (1 + 0.3 * np.sin(2 * np.arange(len(effect))))
        truth = cheapest(effect, leak, LEVEL).cost
        for seeds in (16, 48):
            for cells in (1, 4):
                for few in (len(effect), len(STEPS)):
                    found, covered, named = [], [], 0
                    for _ in range(studies):
                        said = []
                        for method in range(METHODS):
                            kept = slice(-few, None) if method == 0 else slice(None)
                            drawn = study(rng, effect[kept], leak[kept], seeds, cells)
                            said.append(leak_at(*map(mean_over_cells, drawn), LEVEL))
                        values = np.array(said).T  # (S, methods)
                        low, high = mean_intervals(values)
                        covered.append((low <= truth) & (truth <= high))
                        found.append(values.mean(axis=0))
                        _, p = sign_flips(values[:, 1:] - values[:, :1], resamples=500)
                        named += bool((p <= 0.05).any())
                    means = np.nanmean(found, axis=0)
                    row = [seeds, cells, truth, few, means[1:].mean() - truth, np.mean(covered)]
                    row += [means[1:].mean() - means[0], named / studies, studies]
                    out.writerow(x if isinstance(x, int) else f"{x:.4f}" for x in row)


if __name__ == "__main__":
    main()
