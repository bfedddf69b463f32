"""Interpolation equals exact arithmetic, scipy and closed forms; end points and arc length are right."""

from fractions import Fraction
from math import comb, hypot

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from latentpath.traversal.interpolate import METHODS, bezier, cubic, interpolate, lerp, slerp

CURVES = {"bezier": bezier, "cubic": cubic, "slerp": slerp, "lerp": lerp}
THROUGH = ("cubic", "slerp", "lerp")  # all points, not only the ends


def latents(count: int, seed: int = 0, norm: float = 128.0) -> torch.Tensor:
    """(count, 4, 8, 8) float32, of the norm that latents of 4 x 64 x 64 have."""
    points = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return norm * points / points.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


def weights(method: str, count: int, t: np.ndarray) -> np.ndarray:
    """Through unit vectors a curve is its own weights: (F, count)."""
    return CURVES[method](torch.eye(count, dtype=torch.float64), t).numpy()


def gaps(method: str, points: torch.Tensor, frames: int, arc_length: bool = True) -> np.ndarray:
    """Lengths of the curve between its frames, measured by where the frames lie on a fine polyline."""
    t = np.linspace(0, 1, 9 * 49 * 60 + 1)  # has the joints of 2, 10 and 50 points among its corners
    fine = CURVES[method](points, t)
    curve = interpolate(method, points, frames, arc_length=arc_length)
    chords = fine.diff(dim=0)
    lengths = chords.norm(dim=1)
    behind = torch.cat([torch.zeros(1), lengths.cumsum(0)])
    nearest = torch.cdist(curve, fine, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
    places = []
    for frame, near in zip(curve, nearest.tolist(), strict=True):
        sides = torch.tensor([max(near - 1, 0), min(near, len(chords) - 1)])  # the two chords that meet there
        share = ((frame - fine[sides]) * chords[sides]).sum(dim=1) / lengths[sides] ** 2
        share = share.clamp(0, 1)
        foot = fine[sides] + share[:, None] * chords[sides]
        best = (frame - foot).norm(dim=1).argmin()
        places.append(behind[sides[best]] + share[best] * lengths[sides[best]])
    return np.diff(places)


# Bezier


@pytest.mark.parametrize("count", [2, 10, 50])
def test_bezier_weights_are_bernsteins(count):
    t = np.linspace(0, 1, 23)
    exact = [
        [float(comb(count - 1, k) * u**k * (1 - u) ** (count - 1 - k)) for k in range(count)]
        for u in map(Fraction, t)
    ]
    found = weights("bezier", count, t)
    np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-300)
    assert (found >= 0).all() and (found[1:-1] > 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-13)


@pytest.mark.parametrize("count", [10, 50])
def test_bezier_equals_de_casteljau(count):
    points, t = latents(count), np.linspace(0, 1, 50)
    level = points.double().expand(50, *points.shape)
    u = torch.from_numpy(t).reshape(-1, 1, 1, 1, 1)
    while level.shape[1] > 1:
        level = (1 - u) * level[:, :-1] + u * level[:, 1:]
    curve = bezier(points, t)
    assert curve.dtype == torch.float32 and curve.shape == (50, 4, 8, 8)
    torch.testing.assert_close(curve.double(), level[:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(bezier(points.double(), t), level[:, 0], rtol=0, atol=1e-12)


def test_bezier_is_defined_at_any_degree():
    np.testing.assert_allclose(weights("bezier", 2001, np.linspace(0, 1, 9)).sum(axis=1), 1, rtol=1e-12)


def test_bezier_quadratic_by_hand():
    points = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]])
    torch.testing.assert_close(bezier(points, [0.25, 0.5]), torch.tensor([[0.5, 0.75], [1.0, 1.0]]))


def test_bezier_does_not_pass_through_inner_points():
    points = latents(3)
    assert (bezier(points, [0.5])[0] - points[1]).abs().max() > 1


# Cubic


@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_cubic_equals_scipys_natural_spline(count):
    points, t = latents(count), np.linspace(0, 1, 77)
    peer = CubicSpline(np.linspace(0, 1, count), points.double().numpy(), bc_type="natural")(t)
    np.testing.assert_allclose(cubic(points, t).numpy(), peer, rtol=0, atol=1e-5)
    np.testing.assert_allclose(cubic(points.double(), t).numpy(), peer, rtol=0, atol=1e-11)


def test_cubic_by_hand():
    """Through (0, 1, 0): S(u) = (3 u - u^3) / 2 on the first piece, as S''(0) = 0 and S'(1) = 0."""
    u = np.linspace(0, 1, 11)
    curve = cubic(torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64), u / 2)
    np.testing.assert_allclose(curve[:, 0].numpy(), (3 * u - u**3) / 2, rtol=0, atol=1e-14)


# Slerp and lerp


def test_lerp_by_hand():
    points = torch.tensor([[0.0], [1.0], [5.0]])
    torch.testing.assert_close(lerp(points, [0, 0.25, 0.5, 0.75, 1])[:, 0], torch.tensor([0, 0.5, 1, 3, 5]))


def test_slerp_walks_the_circle_at_even_speed():
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # half a turn
    t = np.linspace(0, 1, 13)
    expected = np.stack([np.cos(np.pi * t), np.sin(np.pi * t)], axis=1)
    np.testing.assert_allclose(slerp(points, t).numpy(), expected, atol=1e-12)


def test_slerp_by_its_formula():
    points, u = latents(3).double(), 0.3
    p, q = points[1], points[2]
    w = torch.arccos((p * q).sum() / (p.norm() * q.norm()))
    expected = (torch.sin((1 - u) * w) * p + torch.sin(u * w) * q) / torch.sin(w)
    torch.testing.assert_close(slerp(points, [(1 + u) / 2])[0], expected)


def test_slerp_keeps_the_norm_where_lerp_loses_it():
    points = latents(2, norm=1.0)
    torch.testing.assert_close(slerp(points, [0.5]).norm(), torch.tensor(1.0))
    assert lerp(points, [0.5]).norm() < 0.9


@pytest.mark.parametrize("end", [[1.0, 1e-9], [1.0, 0.0], [2.0, 1e-3], [-1.0, 0.0], [0.0, 0.0]], ids=str)
def test_slerp_is_straight_where_no_circle_is_defined(end):
    points, t = torch.tensor([[1.0, 0.0], end]), np.linspace(0, 1, 7)
    torch.testing.assert_close(slerp(points, t), lerp(points, t))


# What all methods keep


def test_methods():
    assert METHODS == ("bezier", "cubic", "slerp", "lerp") == tuple(CURVES)


@pytest.mark.parametrize("arc_length", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 10, 50])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_ends_are_met_exactly(method, count, dtype, arc_length):
    points = latents(count).to(dtype)
    curve = interpolate(method, points, 21, arc_length=arc_length)
    assert curve.shape == (21, 4, 8, 8) and curve.dtype == dtype
    assert torch.equal(curve[0], points[0]) and torch.equal(curve[-1], points[-1])


@pytest.mark.parametrize("arc_length", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 10, 50])
def test_reversed_points_give_the_reversed_curve(method, count, arc_length):
    points = latents(count)
    curve = interpolate(method, points, 21, arc_length=arc_length)
    mirrored = interpolate(method, points.flip(0), 21, arc_length=arc_length)
    # Frames are placed on the curve to a share of their distance, not to the last digit.
    torch.testing.assert_close(mirrored, curve.flip(0), rtol=0, atol=1e-3 if arc_length else 1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 10, 50])
def test_frames_are_the_curve_at_equal_t(method, count):
    points = latents(count)
    torch.testing.assert_close(interpolate(method, points, 21), CURVES[method](points, np.linspace(0, 1, 21)))


@pytest.mark.parametrize("method", THROUGH)
@pytest.mark.parametrize("count", [2, 6, 50])
def test_curves_pass_through_every_point(method, count):
    points = latents(count)
    torch.testing.assert_close(interpolate(method, points, count), points, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["bezier", "cubic", "lerp"])
@pytest.mark.parametrize("count", [2, 10, 50])
def test_equally_spaced_points_on_a_line_give_the_line(method, count):
    (start, end), t = latents(2).double(), np.linspace(0, 1, 33)
    points, line = (
        start + torch.from_numpy(u).reshape(-1, 1, 1, 1) * (end - start)
        for u in (np.linspace(0, 1, count), t)
    )
    torch.testing.assert_close(CURVES[method](points, t), line, rtol=0, atol=1e-11)
    torch.testing.assert_close(interpolate(method, points, 33, arc_length=True), line, rtol=0, atol=1e-9)


def test_slerp_gives_the_line_through_the_origin():
    points, t = torch.linspace(1, 4, 4)[:, None, None, None] * latents(1), np.linspace(0, 1, 33)
    torch.testing.assert_close(slerp(points, t), lerp(points, t))


@pytest.mark.parametrize("method", METHODS)
def test_no_points_of_t_give_no_frames(method):
    assert CURVES[method](latents(3), []).shape == (0, 4, 8, 8)


@pytest.mark.parametrize("method", METHODS)
def test_tf32_setting_does_not_show(method):
    points, t = latents(10), np.linspace(0, 1, 9)
    exact = CURVES[method](points.double(), t)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        torch.testing.assert_close(CURVES[method](points, t).double(), exact, rtol=0, atol=2e-6)
    finally:
        torch.set_float32_matmul_precision(before)


# Arc length


@pytest.mark.parametrize("frames", [5, 50, 200])
@pytest.mark.parametrize("count", [2, 10, 50])
@pytest.mark.parametrize("method", METHODS)
def test_frames_are_equally_spaced_along_the_curve(method, count, frames):
    spaces = gaps(method, latents(count)[:, 0, 0].double(), frames)
    np.testing.assert_allclose(spaces, spaces.mean(), rtol=1e-3)


def test_frames_at_equal_t_are_not_equally_spaced():
    """Else the test above would show nothing."""
    spaces = gaps("bezier", latents(10)[:, 0, 0].double(), 50, arc_length=False)
    assert spaces.max() > 2 * spaces.min()


def test_arc_length_on_half_a_circle():
    """Over three unequal arcs frames at equal t are uneven; along the length the closed form is the angle."""
    angles = torch.tensor([0.0, 0.1, 0.8, 1.0], dtype=torch.float64) * np.pi
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    turn = np.pi * np.linspace(0, 1, 13)
    expected = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    np.testing.assert_allclose(interpolate("slerp", points, 13, arc_length=True), expected, rtol=0, atol=1e-5)
    assert np.abs(interpolate("slerp", points, 13).numpy() - expected).max() > 0.1


def test_arc_length_of_a_parabola():
    """Over (0, 0), (1/2, 0), (1, 1) it is y = x^2, up to x of length asinh(2 x) / 4 + x hypot(1, 2 x) / 2."""
    points = torch.tensor([[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]], dtype=torch.float64)
    x, y = interpolate("bezier", points, 21, arc_length=True).numpy().T
    np.testing.assert_allclose(y, x**2, atol=1e-14)
    lengths = [np.arcsinh(2 * u) / 4 + u * hypot(1, 2 * u) / 2 for u in x]
    np.testing.assert_allclose(lengths, np.linspace(0, lengths[-1], 21), rtol=0, atol=1e-6)


def test_arc_length_of_unequal_segments():
    """Segments of length 1, 4 and 5 round corners: t is piecewise linear in the length."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 4.0], [4.0, 0.0]], dtype=torch.float64)
    expected = [
        [0, 0],
        [1, 0],
        [1, 1],
        [1, 2],
        [1, 3],
        [1, 4],
        *([1 + 0.6 * d, 4 - 0.8 * d] for d in range(1, 6)),
    ]
    np.testing.assert_allclose(interpolate("lerp", points, 11, arc_length=True), expected, atol=1e-11)


def test_arc_length_of_equal_segments_gives_the_points():
    """Frames are the points if there are as many and the segments are equally long."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [2.0, 1.0]])
    torch.testing.assert_close(interpolate("lerp", points, 4, arc_length=True), points)


@pytest.mark.parametrize("method", METHODS)
def test_a_curve_of_length_zero_stays_at_its_point(method):
    for point in (latents(1), torch.zeros(1, 4, 8, 8)):
        points = point.repeat(5, 1, 1, 1)
        curve = interpolate(method, points, 9, arc_length=True)
        torch.testing.assert_close(curve, point.expand(9, -1, -1, -1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("repeats", [2, 60])
def test_ends_are_met_where_the_curve_stands_still(method, repeats):
    start, end = latents(2).double()
    points = torch.stack([start] * repeats + [end] * repeats)
    curve = interpolate(method, points, 9, arc_length=True)
    assert torch.equal(curve[0], start) and torch.equal(curve[-1], end)
    if method in ("slerp", "lerp"):
        single = interpolate(method, torch.stack([start, end]), 9)
        torch.testing.assert_close(curve, single, rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", ["bezier", "cubic", "lerp"])
def test_close_latents_are_told_apart(method):
    """Steps of 1e-8 of the norm: their squares are beyond the last digit of the points' own products.

    Not for great circles, which do not move with their points.
    """
    wiggle = 1e-8 * latents(10, seed=1).double()
    near = interpolate(method, wiggle, 30, arc_length=True)
    far = interpolate(method, wiggle + latents(1).double(), 30, arc_length=True)
    steps, expected = (curve.diff(dim=0).flatten(1).norm(dim=1) for curve in (far, near))
    torch.testing.assert_close(steps, expected, rtol=1e-3, atol=0)


def test_points_that_are_not_finite_stay_so():
    points = torch.full((3, 2), float("nan"))
    assert interpolate("lerp", points, 4, arc_length=True).isnan().all()


# Mistakes


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="unknown interpolation 'spline'; one of bezier, cubic, slerp, lerp"):
        interpolate("spline", latents(2), 5)
    with pytest.raises(ValueError, match="at least 2 frames"):
        interpolate("lerp", latents(2), 1)
    for method, curve in CURVES.items():
        for arc_length in (False, True):
            with pytest.raises(ValueError, match="at least 2 points, got 1"):
                interpolate(method, latents(1), 5, arc_length=arc_length)
        for t in ([1.5], [-0.1], [float("nan")], [[0.5]], 0.5):
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                curve(latents(2), t)
