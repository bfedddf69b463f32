"""Every figure of the tidy table equals its definition, recomputed with plain loops over the images."""

from itertools import product
from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from latentpath.evaluation.figures import figure_table
from latentpath.evaluation.summary import summarise
from latentpath.evaluation.tables import flip_points, write_tables
from latentpath.keys import NULLABLE
from latentpath.metrics import Scored, geometry_bands, image_distances
from latentpath.metrics.figure_table import COLUMNS, FigureTable, Reading
from latentpath.metrics.figures import CFRT

CLASSES, ATTRIBUTES, HEADS = ("MEL", "NV"), ("hair", "ink"), ("hair", "ink", "ruler")
SEEDS, STEPS, FRAMES, STRONG = range(5), (2, 4, 8), range(6), (2, 4)
MODELS = ("finetuned", "base")


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Random scores of neutral images, swaps and a Bezier curve, toward all three heads; and of the base."""
    rng, rows = np.random.default_rng(5), []
    for cls, seed in product(CLASSES, SEEDS):
        blank = {"class": cls, "seed": seed, "until": 10, "strength": 1.0, "model": "finetuned"}
        rows += [blank | {"attribute": "", "method": "neutral", "swap_step": 10, "model": m} for m in MODELS]
        for attribute in HEADS:
            edit = blank | {"attribute": attribute}
            rows += [edit | {"method": "swap", "swap_step": step} for step in STEPS]
            rows += [edit | {"method": "bezier", "frame": frame, "until": None} for frame in FRAMES]
            rows.append(edit | {"method": "swap", "swap_step": 0, "model": "base"})
    table = pd.DataFrame(rows).astype(NULLABLE)
    names = [f"prob_{head}" for head in HEADS] + ["ssim", "l1"]
    table[names] = rng.uniform(size=(len(table), len(names)))
    table["class_prob_MEL"] = rng.uniform(size=len(table))
    return table.assign(class_prob_NV=1 - table["class_prob_MEL"], lpips_alex=np.nan)


@pytest.fixture(scope="module")
def figures(scores) -> FigureTable:
    scored = Scored(scores, HEADS, CLASSES, resamples=20)
    geometry = geometry_bands(image_distances(scores))
    return FigureTable(figure_table(scored, attributes=ATTRIBUTES, strong=STRONG, geometry=geometry))


class Images:
    """The images of a class by what they are, and the formulas of CFRT one image at a time."""

    def __init__(self, scores: pd.DataFrame, cls: str, method: str) -> None:
        rows = scores[(scores["class"] == cls) & (scores["model"] == "finetuned")].to_dict("records")
        column = "swap_step" if method == "swap" else "frame"
        self.neutral = {row["seed"]: row for row in rows if row["method"] == "neutral"}
        self.edited = {
            (row["attribute"], row["seed"], row[column]): row for row in rows if row["method"] == method
        }

    def change(self, toward: str, seed: int, position: int, head: str) -> float:
        return self.edited[toward, seed, position][f"prob_{head}"] - self.neutral[seed][f"prob_{head}"]

    def eligible(self, toward: str) -> int:
        return sum(row[f"prob_{toward}"] <= 0.5 for row in self.neutral.values())

    def kept(self, toward: str, seed: int, position: int) -> tuple[bool, bool]:
        before, after = self.neutral[seed], self.edited[toward, seed, position]
        others = [head for head in HEADS if head != toward]
        same = all((before[f"prob_{h}"] > 0.5) == (after[f"prob_{h}"] > 0.5) for h in others)
        return (before["class_prob_NV"] > 0.5) == (after["class_prob_NV"] > 0.5), same

    def cfrt(self, toward: str, positions: tuple[int, ...]) -> dict[str, float | None]:
        found: dict[str, list[bool]] = {figure.key: [] for figure in CFRT}
        for seed in SEEDS:
            rise = {h: fmean(self.change(toward, seed, p, h) for p in positions) for h in HEADS}
            released = rise[toward] == max(rise.values())
            before = self.neutral[seed][f"prob_{toward}"] > 0.5
            found["cfrt_released"].append(released)
            found["dominant_heads"].append(released)
            found["already_present"].append(before)
            for position in positions:
                moved = {a: abs(self.change(a, seed, position, toward)) for a in HEADS}
                strict = moved[toward] == max(moved.values())
                of_class, of_others = self.kept(toward, seed, position)
                flip = not before and self.edited[toward, seed, position][f"prob_{toward}"] > 0.5
                kept = of_class and of_others
                found["dominant_images"].append(strict)
                found["cfrt_strict"].append(strict and kept)
                found["all_strict"].append(strict and kept and flip)
                found["all_released"].append(released and kept and flip)
                found["flipped"].append(flip)
                if not before:
                    found["flipped_eligible"].append(flip)
                found["class_kept"].append(of_class)
                found["others_kept"].append(of_others)
        return {key: fmean(values) if values else None for key, values in found.items()}


@pytest.mark.parametrize(
    ("method", "strong", "every"), [("swap", STRONG, STEPS), ("bezier", (4, 5), FRAMES[1:])]
)
def test_cfrt_of_the_strong_end_of_each_position_and_the_mean(scores, figures, method, strong, every):
    means: dict[str, list[float]] = {figure.key: [] for figure in CFRT}
    for cls, attribute in product(CLASSES, ATTRIBUTES):
        images = Images(scores, cls, method)
        for position, positions in [(None, strong), *((p, (p,)) for p in every)]:
            for key, value in images.cfrt(attribute, positions).items():
                found = figures.get(key, cls, attribute, method=method, position=position)
                if value is None:
                    assert found and found.value is None and (found.n, bool(found.reason)) == (0, True)
                    continue
                assert found and found.value == pytest.approx(value), (key, position)
                assert found.low <= found.value <= found.high and found.reason == ""
                assert found.n == (5 if key != "flipped_eligible" else images.eligible(attribute))
                if position is None:
                    means[key].append(value)
    for key, values in means.items():
        assert figures.value(key, method=method) == pytest.approx(fmean(values))


def test_presence_probabilities_and_distances(scores, figures):
    tuned = scores[scores["model"] == "finetuned"]
    for cls, attribute in product(CLASSES, ATTRIBUTES):
        of_pair = tuned[(tuned["class"] == cls) & (tuned["attribute"] == attribute)].to_dict("records")
        at_4 = [r for r in of_pair if r["method"] == "swap" and r["swap_step"] == 4]
        own = [row[f"prob_{attribute}"] for row in at_4]
        others = [row[f"prob_{h}"] for row in at_4 for h in HEADS if h != attribute]
        here = {"position": 4}
        assert figures.value("probability", cls, attribute, **here) == pytest.approx(fmean(own))
        assert figures.value("others_probability", cls, attribute, **here) == pytest.approx(fmean(others))
        assert figures.value("present", cls, attribute, **here) == fmean(p > 0.5 for p in own)
        neutral = [row[f"prob_{attribute}"] for row in Images(scores, cls, "swap").neutral.values()]
        assert figures.value("absent", cls, attribute, method="neutral") == fmean(p <= 0.5 for p in neutral)
        frames = [r["l1"] for r in of_pair if r["method"] == "bezier" and r["frame"] > 0]
        assert figures.value("l1", cls, attribute, method="bezier") == pytest.approx(fmean(frames))
        assert figures.value("l1", cls, attribute, **here) == pytest.approx(fmean(r["l1"] for r in at_4))
        assert figures.get("lpips_alex", cls, attribute) == Reading()  # no weights: there, and undefined
    assert figures.positions("present", model="base") == [0]
    pairs = [figures.value("ssim", c, a) for c, a in product(CLASSES, ATTRIBUTES)]
    assert figures.value("ssim") == pytest.approx(fmean(pairs))


def test_only_what_was_traversed_stands_in_the_table_and_each_key_once(figures):
    assert set(figures.rows["attribute"].dropna()) == set(ATTRIBUTES)
    assert not figures.rows.duplicated(COLUMNS[:6]).any()
    assert figures.get("flipped", "MEL", "ruler") is None
    assert figures.get("l1", "MEL", "hair", method="bezier", position=0) is None


def test_what_is_undefined_says_why_in_the_table_and_in_the_notes(scores, tmp_path):
    gone = (scores["attribute"] == "ink") & (scores["class"] == "NV") & (scores["method"] == "swap")
    scored = Scored(scores[~gone].drop(columns="prob_ruler"), HEADS, CLASSES, resamples=20)
    geometry = geometry_bands(image_distances(scored.table))
    options = {"attributes": ATTRIBUTES, "strong": STRONG}
    figures = write_tables(tmp_path, scored, geometry=geometry, **options)
    both = "no score of head ruler on the neutral images and no scored images toward ink"
    found = figures.get("cfrt_released", "NV", "ink")
    assert found and found.value is None and found.reason == both
    assert "no score of head ruler" in figures.get("cfrt_released").reason  # of the mean: a cell's
    metrics = summarise(figures, scored, num_inference_steps=10, swap_steps=STEPS, **options)
    assert any(
        note.startswith(f"CFRT, released is undefined: {both} (swap NV ink") for note in metrics["notes"]
    )
    assert metrics["cfrt_mean"]["swap"]["cfrt_released"] is None
    assert metrics["chance"] == {"cfrt_strict": 1 / 2}
    stored = FigureTable(pd.read_parquet(tmp_path / "figures.parquet"))
    assert stored.get("cfrt_released", "NV", "ink") == found
    pd.testing.assert_frame_equal(stored.rows, figures.rows)
    assert pd.read_csv(tmp_path / "figures.csv").columns.tolist() == COLUMNS


def test_flip_points_are_counted():
    rows = [("flips", 4, []), ("flips", 8, [6]), ("never", None, []), ("already present", None, [])]
    flips = pd.DataFrame(rows, columns=["status", "flip_step", "contradictions"]).astype(
        {"flip_step": "Int64"}
    )
    (row,) = flip_points(flips.assign(**{"class": "NV", "attribute": "hair"})).to_dict("records")
    assert row == {
        "class": "NV", "attribute": "hair", "flips": 2, "never": 1, "already_present": 1,
        "not_monotone": 1, "median": 6.0,
    }  # fmt: skip
