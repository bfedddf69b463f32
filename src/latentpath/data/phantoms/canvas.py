"""Drawing tools for the phantoms: random streams, coordinates, smooth noise and anti-aliased shapes."""

from functools import lru_cache
from zlib import crc32

import numpy as np

Array = np.ndarray


def stream(seed: int, index: int, component: str) -> np.random.Generator:
    """Return the random generator of one component of one phantom, independent of all other components."""
    return np.random.default_rng([seed, index, crc32(component.encode())])


@lru_cache(maxsize=16)
def grid(size: int) -> tuple[Array, Array]:
    """Return the pixel centres (x to the right, y down), each (size, size) float32 in (-1, 1)."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0
    x, y = np.meshgrid(axis, axis)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def rotated(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Return the coordinates in a frame that is rotated by `angle` (radians)."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def coverage(distance: Array, softness: float | Array) -> Array:
    """Return how much of each pixel a shape covers, in [0, 1].

    `distance` is negative inside the shape; the ramp at its border is `softness` wide. Outside the ramp the
    result is exactly 0, so pixels that a shape does not touch keep their exact value.
    """
    t = np.clip(0.5 - distance / np.asarray(softness, dtype=np.float32), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def over(image: Array, colour: Array | tuple[float, float, float], alpha: Array) -> Array:
    """Paint `colour` over `image` (h, w[, 3]) with opacity `alpha` (h, w)."""
    alpha = alpha[..., None] if image.ndim == 3 else alpha
    return image + alpha * (np.asarray(colour, dtype=np.float32) - image)


def segment_distance(x: Array, y: Array, start: tuple[float, float], end: tuple[float, float]) -> Array:
    """Return the distance of each point to the straight segment from `start` to `end`."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    t = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-9), 0.0, 1.0)
    return np.hypot(x - start[0] - t * dx, y - start[1] - t * dy)


def waves(rng: np.random.Generator, x: Array, y: Array, *, scale: float, count: int = 10) -> Array:
    """Return smooth noise of mean 0 and variance 1, with features about `scale` wide, at any coordinates.

    The noise is a sum of plane waves, so unlike a grid of random values it looks the same at every image
    size.
    """
    angle, phase = rng.uniform(0, 2 * np.pi, (2, count))
    frequency = rng.uniform(0.5, 1.3, count) * np.pi / scale
    kx = (frequency * np.cos(angle)).astype(np.float32)
    ky = (frequency * np.sin(angle)).astype(np.float32)
    total = np.zeros_like(x)
    for i in range(count):
        total += np.cos(kx[i] * x + ky[i] * y + np.float32(phase[i]))
    return total * np.float32(np.sqrt(2.0 / count))


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> Array:
    """Return cubic B-spline weights (size, cells + 3) that turn coarse knots into `size` smooth values."""
    position = (np.arange(size) + 0.5) * cells / size
    cell = np.floor(position).astype(int)
    t = position - cell
    taps = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((size, cells + 3), dtype=np.float32)
    for offset, tap in enumerate(taps):
        weights[np.arange(size), cell + offset] = tap / 6
    return weights


def texture(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Return smooth noise (size, size) of mean 0 and variance about 1, with `cells` features per side.

    It is cheaper than `waves` for fine features.
    """
    weights = _spline(size, cells)
    knots = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    deviation = np.float32(0.479)  # standard deviation of a cubic B-spline surface through unit white noise
    return (weights @ knots @ weights.T) * (1 / deviation)


def to_uint8(image: Array) -> Array:
    """Convert floats in [0, 1] to uint8 in 0..255."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
