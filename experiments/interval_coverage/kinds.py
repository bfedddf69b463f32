"""The kinds of figures whose intervals are tested: values of seeds drawn with a known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from latentpath.metrics.held_out import auroc
from latentpath.metrics.intervals import (
    mean_intervals,
    overall_mean_interval,
    overall_rate_interval,
    rate_intervals,
)
from latentpath.metrics.judge_error import corrected_share, prediction_powered

RATES, SEEDS = (0.7, 0.8, 0.9, 0.95, 0.99), (8, 16, 32)
POSITIONS, HEADS = 3, 5  # swap steps of the strong end; other decisions than that about the attribute
PLACEBO = 0.02  # how often a placebo changes a decision
GROUPS = np.repeat(range(60), 2).tolist()  # held-out images, two of each group
ERRORS = ((1.0, 1.0), (0.9, 0.9), (0.7, 0.95))  # sensitivity and specificity of judges
Ends = tuple[np.ndarray, np.ndarray]
Rng = np.random.Generator


@dataclass(frozen=True)
class Setting:
    """Studies of one figure: its kind, what the setting is, and the true value and interval of each study.

    of_seeds: what each seed says (seeds, studies), for bootstraps to compare with; None where seeds are not
    all that is drawn.
    """

    kind: str
    seeds: int
    setting: str
    truth: np.ndarray  # (studies,)
    ends: Callable[[], Ends]
    of_seeds: np.ndarray | None = None


@dataclass(frozen=True)
class Draw:
    """How studies are drawn: their number, how many seeds each has, and how far its rate may lie from p.

    With reach 0 all studies have the rate p; otherwise each its own, uniform between p - reach and p + reach,
    within [0, 1].
    """

    rng: Rng
    studies: int
    seeds: int
    reach: float

    def rates(self, p: float) -> np.ndarray:
        return self.rng.uniform(max(p - self.reach, 0), min(p + self.reach, 1), self.studies)


def settings(rng: Rng, studies: int, reach: float = 0.0) -> Iterator[Setting]:
    """Yield all settings; `rng` draws them in this order. `reach`: see `Draw`."""
    for seeds in SEEDS:
        draw = Draw(rng, studies, seeds, reach)
        for kind in (_rates, _means_of_cells, _differences, _counts, _means, _judge):
            yield from kind(draw)


def _rates(draw: Draw) -> Iterator[Setting]:
    """Flip rates, CFRT and its conditions: shares of the positions of each seed, which are alike."""
    for correlation in (0.1, 0.5, 1.0):
        for p in RATES:
            rate = draw.rates(p)
            values = _positions(draw, rate, correlation)
            yield _of_seeds("rate of a cell", values, f"{p}, correlation {correlation}", rate, rate_intervals)


def _means_of_cells(draw: Draw) -> Iterator[Setting]:
    """Means over eight cells of the same seeds: of rates, and of selectivities."""
    for correlation in (0.0, 0.3, 0.8):
        rates = np.stack([draw.rates(p) for p in (0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.99, 0.5)], axis=1)
        cells = (_together(draw, correlation, 8) < rates).astype(float)
        nulls = draw.rng.binomial(3, 0.25, size=cells.shape) / 3
        mean, setting = rates.mean(axis=1), f"correlation {correlation}"
        for kind, of_cells, truth, interval in (
            ("mean of rates of 8 cells", cells, mean, overall_rate_interval),
            ("mean of selectivities of 8 cells", cells - nulls, mean - 0.25, _overall_difference),
        ):
            ends = _each(interval, of_cells)
            yield Setting(kind, draw.seeds, setting, truth, ends, of_cells.mean(axis=2))


def _differences(draw: Draw) -> Iterator[Setting]:
    """Effect and leak over a placebo, selectivity, and differences of two runs on the same seeds."""
    rng = draw.rng
    for p in RATES:
        rate, setting = draw.rates(p), str(p)
        effect = _positions(draw, rate, 0.5)
        effect = effect - rng.binomial(POSITIONS, 0.05, size=effect.shape) / POSITIONS
        yield _of_seeds("effect over placebo", effect, setting, rate - 0.05, of_count)
        own = (rng.uniform(size=effect.shape) < rate).astype(float)
        selectivity = own - rng.binomial(3, (1 - rate) / 3, size=own.shape) / 3
        yield _of_seeds("selectivity", selectivity, setting, rate - (1 - rate) / 3, of_count)
        higher = np.minimum(rate + 0.05, 1)
        both = _together(draw, 0.7, 2) < np.stack([rate, higher], axis=1)
        apart = both[..., 1].astype(float) - both[..., 0]
        yield _of_seeds("difference of runs", apart, setting, higher - rate, of_count)
    for p in (0.02, 0.05, 0.2, 0.4):
        for correlation in (0.0, 0.7):
            rate = draw.rates(p)
            leak = _shares(draw, rate, correlation) - _shares(draw, np.array(PLACEBO), correlation)
            setting = f"{p}, correlation {correlation}"
            yield _of_seeds("leak over placebo", leak, setting, rate - PLACEBO, of_leak)


def _counts(draw: Draw) -> Iterator[Setting]:
    """MNAC: the attribute itself appears, and each of four others changes with a small probability."""
    shape = (draw.seeds, draw.studies)
    for p in RATES:
        for other in (0.01, 0.1):
            rate = draw.rates(p)
            number = (draw.rng.uniform(size=shape) < rate) + draw.rng.binomial(4, other, shape)
            truth = rate + 4 * other
            yield _of_seeds("MNAC", number.astype(float), f"{p}, others {other}", truth, of_count)


def _means(draw: Draw) -> Iterator[Setting]:
    """Co-change, distances, cosines: means of any values."""
    shape = (draw.seeds, draw.studies)
    for name, truth, values in (
        ("normal", 0.0, draw.rng.normal(size=shape)),
        ("exponential", 1.0, draw.rng.exponential(size=shape)),
        ("beta(1/2, 1/2)", 0.5, draw.rng.beta(0.5, 0.5, size=shape)),
    ):
        yield _of_seeds("mean of any values", values, name, np.full(draw.studies, truth), mean_intervals)


def _judge(draw: Draw) -> Iterator[Setting]:
    """Shares corrected for the judge's errors, shares with human labels, and AUROC."""
    rng, seeds, studies = draw.rng, draw.seeds, draw.studies
    for se, sp in ERRORS:
        for p in RATES:
            rate, judge = draw.rates(p), f"{p}, sensitivity {se}, specificity {sp}"
            present = (rng.uniform(size=(studies, 3 * seeds)) < rate[:, None]).astype(float)
            said = _judged(rng, present, se, sp)
            labels = np.repeat(rng.integers(0, 2, size=(studies, 60)), 2, axis=1).astype(float)
            found = _judged(rng, labels, se, sp)

            def corrected(said=said, found=found, labels=labels) -> Ends:
                made = [
                    corrected_share(s[:seeds], f, y, GROUPS)
                    for s, f, y in zip(said, found, labels, strict=True)
                ]
                return np.array([e.low for e in made]), np.array([e.high for e in made])

            def labelled(said=said, present=present) -> Ends:
                made = [
                    prediction_powered(f[seeds:], f[:seeds], y[:seeds])
                    for f, y in zip(said, present, strict=True)
                ]
                return np.array([e.low for e in made]), np.array([e.high for e in made])

            yield Setting("share, corrected", seeds, judge, rate, corrected)
            yield Setting("share, human labels", seeds, judge, rate, labelled)
    for shift in (0.5, 1.0, 2.0, 3.0):
        x, y = rng.normal(shift, size=(studies, seeds)), rng.normal(size=(studies, 4 * seeds))

        def of_auroc(x=x, y=y) -> Ends:
            own = np.arange(x.shape[1]), np.arange(y.shape[1]) + x.shape[1]
            made = np.array([auroc(a, b, *own)[1:] for a, b in zip(x, y, strict=True)])
            return made[:, 0], made[:, 1]

        truth = np.full(studies, stats.norm.cdf(shift / np.sqrt(2)))
        yield Setting("AUROC, positives as seeds", seeds, f"shift {shift}", truth, of_auroc)


def of_leak(values: np.ndarray) -> Ends:
    return mean_intervals(values, unit=1 / HEADS)


def of_count(values: np.ndarray) -> Ends:
    return mean_intervals(values, unit=1)


def _overall_difference(of_cells: np.ndarray) -> tuple[float, float]:
    return overall_mean_interval(of_cells, unit=1)


def _of_seeds(kind: str, values: np.ndarray, setting: str, truth: np.ndarray, interval) -> Setting:
    return Setting(kind, len(values), setting, truth, lambda: interval(values), values)


def _each(interval, of_cells: np.ndarray) -> Callable[[], Ends]:
    """The interval of a mean over cells, study by study; of_cells (seeds, studies, cells)."""

    def ends() -> Ends:
        made = np.array([interval(of_cells[:, i]) for i in range(of_cells.shape[1])])
        return made[:, 0], made[:, 1]

    return ends


def _positions(draw: Draw, rate: np.ndarray, correlation: float) -> np.ndarray:
    """Draw the share of each seed's positions, two of which have this correlation (1: they are equal)."""
    shape = (draw.seeds, draw.studies)
    if correlation == 1:
        return (draw.rng.uniform(size=shape) < rate).astype(float)
    spread = (1 - correlation) / correlation
    own = draw.rng.beta(rate * spread, (1 - rate) * spread, size=shape)
    return draw.rng.binomial(POSITIONS, own) / POSITIONS


def _together(draw: Draw, correlation: float, cells: int) -> np.ndarray:
    """Draw uniform values (seeds, studies, cells), whose normal scores have this correlation over cells."""
    shape = (draw.seeds, draw.studies, cells)
    shared, own = draw.rng.normal(size=(*shape[:-1], 1)), draw.rng.normal(size=shape)
    return stats.norm.cdf(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def _shares(draw: Draw, rate: np.ndarray, correlation: float) -> np.ndarray:
    """Draw shares of changed decisions, whose positions agree at least this often."""
    shape = (draw.seeds, draw.studies)
    rate = np.broadcast_to(rate, shape)[..., None, None]
    alike = (draw.rng.uniform(size=(*shape, HEADS)) < correlation)[..., None]
    one, each = (draw.rng.uniform(size=(*shape, HEADS, n)) < rate for n in (1, POSITIONS))
    return np.where(alike, one, each).mean(axis=(2, 3))


def _judged(rng: Rng, truth: np.ndarray, se: float, sp: float) -> np.ndarray:
    right = rng.uniform(size=truth.shape)
    return np.where(truth == 1, right < se, right > sp).astype(float)
