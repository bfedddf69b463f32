"""Directions in the plane, where every angle is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from latentpath.metrics import (
    consecutive_cosines,
    curvature,
    direction_cosines,
    geometry_bands,
    geometry_table,
    image_distances,
    latent_distances,
    path_over_chord,
)

NEUTRAL = np.array([1.0, 1.0])
STEPS = [5, 10, 15]  # 15 is the weakest
# offsets: strongest (0, 2), then (1, 1), weakest (1, 0)
TRAJECTORY = NEUTRAL + np.array([[0.0, 2.0], [1.0, 1.0], [1.0, 0.0]])


def test_cosines_against_either_end():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(direction_cosines(NEUTRAL, TRAJECTORY, STEPS), [1, half, 0], atol=1e-15)
    weakest = direction_cosines(NEUTRAL, TRAJECTORY, STEPS, reference="weakest")
    np.testing.assert_allclose(weakest, [0, half, 1], atol=1e-15)


def test_result_follows_the_order_given():
    swapped = direction_cosines(NEUTRAL, TRAJECTORY[::-1], STEPS[::-1])
    np.testing.assert_allclose(swapped, direction_cosines(NEUTRAL, TRAJECTORY, STEPS)[::-1])
    assert path_over_chord(NEUTRAL, TRAJECTORY[::-1], STEPS[::-1]) == path_over_chord(
        NEUTRAL, TRAJECTORY, STEPS
    )


def test_path_of_three_legs():
    """(0,0) -> (1,0) -> (1,1) -> (0,2): right angle, then 45 degrees; length 2 + sqrt 2, chord 2."""
    np.testing.assert_allclose(consecutive_cosines(NEUTRAL, TRAJECTORY, STEPS), [0, np.sqrt(0.5)], atol=1e-15)
    assert path_over_chord(NEUTRAL, TRAJECTORY, STEPS) == pytest.approx((2 + np.sqrt(2)) / 2)


def test_straight_line_of_latents():
    z, step = torch.randn(4, 8, 8), torch.randn(4, 8, 8)
    line = torch.stack([z + k * step for k in (4, 3, 2, 1)])
    np.testing.assert_allclose(direction_cosines(z, line, [1, 2, 3, 4]), 1, atol=1e-6)
    np.testing.assert_allclose(consecutive_cosines(z, line, [1, 2, 3, 4]), 1, atol=1e-6)
    assert path_over_chord(z, line, [1, 2, 3, 4]) == pytest.approx(1, abs=1e-6)


def test_scale_does_not_matter():
    scaled = NEUTRAL + (TRAJECTORY - NEUTRAL) * np.array([[3.0], [0.5], [7.0]])
    np.testing.assert_allclose(
        direction_cosines(NEUTRAL, scaled, STEPS), direction_cosines(NEUTRAL, TRAJECTORY, STEPS), atol=1e-15
    )


def test_no_direction_is_nan():
    still = np.stack([TRAJECTORY[0], NEUTRAL, NEUTRAL])
    np.testing.assert_array_equal(direction_cosines(NEUTRAL, still, STEPS), [1, np.nan, np.nan])
    assert np.isnan(direction_cosines(NEUTRAL, still, STEPS, reference="weakest")).all()
    assert np.isnan(consecutive_cosines(NEUTRAL, still, STEPS)).all()
    assert np.isnan(path_over_chord(NEUTRAL, np.stack([NEUTRAL, TRAJECTORY[1]]), [5, 10]))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="trajectory must be"):
        direction_cosines(NEUTRAL, TRAJECTORY, [5, 10])


def test_curvature_is_the_mean_turn():
    """A right angle, then 45 degrees; a line; a line walked back; a step of length 0 has no angle."""
    assert curvature(NEUTRAL, TRAJECTORY, STEPS) == pytest.approx(67.5)
    line = NEUTRAL + np.array([[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
    assert curvature(NEUTRAL, line, STEPS) == pytest.approx(0, abs=1e-5)
    assert curvature(NEUTRAL, [NEUTRAL, line[0]], [5, 10]) == pytest.approx(180)
    waits = np.stack([TRAJECTORY[0], TRAJECTORY[1], TRAJECTORY[2], TRAJECTORY[2]])
    assert curvature(NEUTRAL, waits, [5, 10, 15, 20]) == pytest.approx(45)
    assert np.isnan(curvature(NEUTRAL, TRAJECTORY[:1], [5]))


def test_distances():
    np.testing.assert_allclose(latent_distances(NEUTRAL, TRAJECTORY, STEPS), [2, np.sqrt(2), 1])


def stored(seeds: int, scale: float = 1.0) -> tuple[pd.DataFrame, np.ndarray]:
    """An index and latents as `traverse` stores them, with other edits; seed s goes s + 1 times as far."""
    rows, latents = [], []
    for seed in range(seeds):
        key = {"class": "NV", "seed": seed}
        rows.append(key | {"attribute": "", "method": "neutral", "swap_step": 20})
        latents.append(NEUTRAL)
        for step, point in zip(STEPS, TRAJECTORY, strict=True):
            rows.append(key | {"attribute": "hair", "method": "swap", "swap_step": step})
            latents.append(NEUTRAL + scale * (seed + 1) * (point - NEUTRAL))
        rows.append(key | {"attribute": "hair", "method": "window", "swap_step": 5})
        latents.append(99 * NEUTRAL)
    return pd.DataFrame(rows), np.stack(latents)


def test_geometry_table_holds_the_figures_of_each_seed():
    table = geometry_table(*stored(2)).set_index(["seed", "figure", "swap_step"])["value"].sort_index()
    assert len(table) == 2 * (3 + 3 + 3 + 2 + 2)
    np.testing.assert_allclose(table[1, "distance"].loc[[15, 10, 5]], [2, 2 * np.sqrt(2), 4])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(table[0, "cosine_strongest"].loc[[15, 10, 5]], [0, half, 1], atol=1e-15)
    np.testing.assert_allclose(table[0, "cosine_weakest"].loc[[15, 10, 5]], [1, half, 0], atol=1e-15)
    np.testing.assert_allclose(table[0, "cosine_next"].loc[[15, 10]], [0, half], atol=1e-15)
    assert table[0, "curvature"].iloc[0] == pytest.approx(67.5)
    assert table[1, "path_over_chord"].iloc[0] == pytest.approx((2 + np.sqrt(2)) / 2)


def test_bands_over_seeds():
    """Distances at step 5 are 2, 4, ..., 42: mean 22, the quantiles those of 21 even steps."""
    bands = geometry_bands(geometry_table(*stored(21)))
    far = bands[(bands["figure"] == "distance") & (bands["swap_step"] == 5)].iloc[0]
    np.testing.assert_allclose(far[["mean", "q10", "q50", "q90"]].tolist(), [22, 6, 22, 38])
    assert 15 < far["low"] < 22 < far["high"] < 29 and far["n"] == 21
    turn = bands[bands["figure"] == "curvature"].iloc[0]
    np.testing.assert_allclose(turn[["mean", "low", "high", "q90"]].tolist(), [67.5] * 4)
    assert turn["swap_step"] is pd.NA and len(bands) == 13


def test_seeds_that_stand_still_are_left_out_of_the_bands():
    rows, latents = stored(3)
    latents[rows["seed"] == 1] = NEUTRAL
    bands = geometry_bands(geometry_table(rows, latents))
    cosines = bands[bands["figure"].str.startswith("cosine")]
    assert (cosines["n"] == 2).all() and cosines["mean"].notna().all()
    assert (bands.loc[bands["figure"] == "distance", "n"] == 3).all()


def test_a_seed_needs_its_neutral_latent():
    rows, latents = stored(1)
    with pytest.raises(ValueError, match="seed 0: 0 neutral latents"):
        geometry_table(rows[1:], latents[1:])
    with pytest.raises(ValueError, match="5 rows tell of 4"):
        geometry_table(rows, latents[1:])


def test_bands_of_image_distances_come_from_the_scores():
    keys = {"class": "NV", "model": "finetuned", "method": "swap", "attribute": "hair"}
    rows = [keys | {"seed": s, "swap_step": t, "l1": s + t, "ssim": 0.5} for s in (1, 2) for t in (5, 10)]
    rows += [keys | {"seed": 1, "swap_step": 5, "model": "base"}, keys | {"seed": 1, "method": "neutral"}]
    scores = pd.DataFrame(rows).assign(lpips_alex=np.nan).astype({"swap_step": "Int64"})
    table = image_distances(scores)
    assert set(table["figure"]) == {"l1", "ssim"} and len(table) == 8
    bands = geometry_bands(table).set_index(["figure", "swap_step"])
    assert bands.loc[("l1", 5), "mean"] == 6.5 and bands.loc[("l1", 10), "mean"] == 11.5
    assert bands.loc[("ssim", 5), "n"] == 2
