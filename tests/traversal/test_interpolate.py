"""Curves: scipy's BPoly as a peer, closed forms on the circle, end points, and exactness at high degree."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BPoly

from latentpath.traversal.interpolate import METHODS, bezier, interpolate, lerp, slerp


def latents(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_bezier_equals_bernstein_polynomials(count):
    points, t = latents(count), np.linspace(0, 1, 50)
    peer = BPoly(points.double().numpy()[:, None], [0, 1])(t)
    curve = bezier(points, t)
    assert curve.dtype == torch.float32 and curve.shape == (50, 4, 8, 8)
    np.testing.assert_allclose(curve.numpy(), peer, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [10, 50])
def test_bezier_equals_de_casteljau(count):
    points = latents(count).double()
    for t in (0.0, 0.13, 0.5, 0.99, 1.0):
        level = points
        while len(level) > 1:
            level = (1 - t) * level[:-1] + t * level[1:]
        torch.testing.assert_close(bezier(points, [t]), level, rtol=1e-12, atol=1e-12)


def test_bezier_quadratic_by_hand():
    points = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]])
    torch.testing.assert_close(bezier(points, [0.25, 0.5]), torch.tensor([[0.5, 0.75], [1.0, 1.0]]))


def test_bezier_weights_sum_to_one():
    """Equal control points give that very point, at any degree."""
    for count in (2, 10, 50):
        torch.testing.assert_close(
            bezier(torch.full((count, 1), 3.0, dtype=torch.float64), np.linspace(0, 1, 20)),
            torch.full((20, 1), 3.0, dtype=torch.float64),
            rtol=1e-13,
            atol=0,
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 10])
def test_ends_are_met_and_reversal_mirrors(method, count):
    points = latents(count)
    curve = interpolate(method, points, 21)
    assert curve.shape == (21, 4, 8, 8)
    torch.testing.assert_close(curve[0], points[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(curve[-1], points[-1], rtol=0, atol=1e-6)
    torch.testing.assert_close(interpolate(method, points.flip(0), 21), curve.flip(0), rtol=1e-5, atol=1e-5)


def test_frame_0_is_the_neutral_latent_exactly():
    points = latents(10)
    assert torch.equal(interpolate("bezier", points, 50)[0], points[0])
    assert torch.equal(interpolate("lerp", points, 50)[0], points[0])


@pytest.mark.parametrize("curve", [lerp, slerp])
def test_piecewise_curves_pass_through_every_point(curve):
    points = latents(6)
    torch.testing.assert_close(curve(points, np.linspace(0, 1, 6)), points, rtol=1e-5, atol=1e-5)


def test_bezier_does_not_pass_through_inner_points():
    points = latents(3)
    assert (bezier(points, [0.5])[0] - points[1]).abs().max() > 0.1


def test_lerp_by_hand():
    points = torch.tensor([[0.0], [1.0], [5.0]])
    torch.testing.assert_close(lerp(points, [0, 0.25, 0.5, 0.75, 1])[:, 0], torch.tensor([0, 0.5, 1, 3, 5]))


def test_slerp_walks_the_circle_at_even_speed():
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # half a turn
    t = np.linspace(0, 1, 13)
    expected = np.stack([np.cos(np.pi * t), np.sin(np.pi * t)], axis=1)
    np.testing.assert_allclose(slerp(points, t).numpy(), expected, atol=1e-12)


def test_slerp_keeps_the_norm_where_lerp_loses_it():
    points = latents(2)
    points = points / points.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(slerp(points, [0.5]).norm(), torch.tensor(1.0))
    assert lerp(points, [0.5]).norm() < 0.9


@pytest.mark.parametrize("end", [[1.0, 1e-9], [1.0, 0.0], [2.0, 1e-3], [-1.0, 0.0], [0.0, 0.0]], ids=str)
def test_slerp_is_straight_where_no_circle_is_defined(end):
    points, t = torch.tensor([[1.0, 0.0], end]), np.linspace(0, 1, 7)
    torch.testing.assert_close(slerp(points, t), lerp(points, t))


def test_tf32_setting_does_not_show():
    points = latents(10)
    exact = bezier(points.double(), np.linspace(0, 1, 9))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        torch.testing.assert_close(bezier(points, np.linspace(0, 1, 9)).double(), exact, rtol=0, atol=1e-6)
    finally:
        torch.set_float32_matmul_precision(before)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="unknown interpolation 'spline'"):
        interpolate("spline", latents(2), 5)
    with pytest.raises(ValueError, match="at least 2 frames"):
        interpolate("lerp", latents(2), 1)
    with pytest.raises(ValueError, match="at least 2 points"):
        bezier(latents(1), [0.5])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        slerp(latents(2), [1.5])
