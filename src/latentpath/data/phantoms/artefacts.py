"""Painters of the artefacts in dermoscopic images: hair, gel bubbles, ink and a ruler.

Each painter takes the image so far and returns the image with the artefact added, and the artefact's opacity.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .canvas import Array, coverage, grid, over, rotated, segment_distance, waves


@dataclass(frozen=True)
class Scene:
    """What a painter knows about the phantom: its size in pixels and the position of the lesion."""

    size: int
    centre: tuple[float, float]
    radius: float

    @property
    def pixel(self) -> float:
        """The width of a pixel in the units of `grid`."""
        return 2.0 / self.size


Painter = Callable[[Array, Scene, np.random.Generator], tuple[Array, Array]]


def paint_hair(image: Array, scene: Scene, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw curved strands along a common direction, dark or sometimes lighter brown."""
    x, y = grid(scene.size)
    direction = rng.uniform(0, np.pi)
    light = rng.random() < 0.15
    colour = np.array((0.33, 0.20, 0.11) if light else (0.09, 0.06, 0.05)) + rng.uniform(-0.02, 0.03)
    alpha = np.zeros_like(x)
    for strand in range(rng.integers(5, 10)):
        # A curve v = f(u) in a rotated frame; its distance has a closed form, accurate for small slopes.
        wild = 0.9 if strand % 4 == 3 else 0.22
        root_x, root_y = rng.uniform(-0.75, 0.75, 2)
        u, v = rotated(x - root_x, y - root_y, direction + rng.normal(0, wild))
        bend, sway, phase = rng.normal(0, 0.3), rng.normal(0, 0.05), rng.uniform(0, 2 * np.pi)
        line = bend * u * u + sway * np.sin(4 * u + phase)
        slope = 2 * bend * u + 4 * sway * np.cos(4 * u + phase)
        length = rng.uniform(0.5, 1.3)
        taper = np.clip((length - np.abs(u)) / 0.3, 0.0, 1.0)
        half_width = np.maximum(rng.uniform(0.016, 0.025) * (0.6 + 0.4 * taper), 0.5 * scene.pixel)
        distance = np.abs(v - line) / np.sqrt(1 + slope * slope) - half_width
        alpha = np.maximum(alpha, coverage(distance, scene.pixel) * (taper > 0) * np.minimum(1, 3 * taper))
    alpha *= 0.92
    return over(image, colour, alpha), alpha


def paint_gel_bubble(image: Array, scene: Scene, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw air bubbles in the gel: clear discs with a dark outline, a bright inner rim and a highlight."""
    x, y = grid(scene.size)
    touched = np.zeros_like(x)
    nest = rng.uniform(-0.6, 0.6, 2)  # bubbles form a cluster, with a few outside it
    lamp = rng.uniform(0, 2 * np.pi)
    placed: list[tuple[float, float, float]] = []
    for number in range(rng.integers(6, 13)):
        radius = rng.uniform(0.12, 0.23) if number < 3 else rng.uniform(0.065, 0.14)
        cx, cy = rng.uniform(-0.9, 0.9, 2) if number % 3 == 2 else nest + rng.normal(0, 0.33, 2)
        cx, cy = np.clip((cx, cy), -0.92, 0.92)
        if any(np.hypot(cx - px, cy - py) < radius + pr for px, py, pr in placed):
            continue
        placed.append((cx, cy, radius))
        distance = np.hypot(x - cx, y - cy)
        rim = max(0.03, 0.9 * scene.pixel)
        disc = coverage(distance - radius, scene.pixel)
        outline = coverage(np.abs(distance - radius) - rim / 3, scene.pixel)
        inner = coverage(np.abs(distance - radius + rim) - rim / 2, scene.pixel)
        toward = 0.5 + 0.5 * ((x - cx) * np.cos(lamp) + (y - cy) * np.sin(lamp)) / np.maximum(distance, 1e-4)
        spot = np.hypot(x - cx - 0.45 * radius * np.cos(lamp), y - cy - 0.45 * radius * np.sin(lamp))
        image = over(image, image * 0.88 + 0.12, disc)
        image = over(image, image * np.float32(0.5), outline * 0.9)
        image = over(image, (1.0, 0.99, 0.97), inner * (0.45 + 0.5 * toward))
        image = over(image, (1.0, 1.0, 1.0), coverage(spot - max(0.2 * radius, 0.02), 1.5 * scene.pixel))
        touched = np.maximum.reduce((touched, disc, outline))
    return image, touched


def paint_ink(image: Array, scene: Scene, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a surgeon's ink marks beside the lesion: short strokes, dots or an arc, patchy as on real skin."""
    x, y = grid(scene.size)
    px, py = x - scene.centre[0], y - scene.centre[1]
    width = rng.uniform(0.055, 0.085)
    first = rng.uniform(0, 2 * np.pi)
    style = rng.choice(("strokes", "dots", "arc"))
    distance = np.full_like(x, 9.0)
    ring = scene.radius + rng.uniform(0.16, 0.28)
    if style == "arc":
        turned_x, turned_y = rotated(px, py, first)
        span = rng.uniform(0.9, 1.6)
        angle = np.clip(np.arctan2(turned_y, turned_x), -span, span)
        distance = np.hypot(turned_x - ring * np.cos(angle), turned_y - ring * np.sin(angle)) - width
    else:
        for number in range(rng.integers(3, 6)):
            angle = first + number * rng.uniform(1.1, 1.6)
            toward = ring * np.array((np.cos(angle), np.sin(angle)))
            cx, cy = np.clip(scene.centre + toward, -0.85, 0.85) - scene.centre  # always inside the image
            reach = 0.0 if style == "dots" else rng.uniform(0.14, 0.26)
            tilt = angle + np.pi / 2 + rng.normal(0, 0.35)
            tip = (reach * np.cos(tilt), reach * np.sin(tilt))
            stroke = segment_distance(px, py, (cx - tip[0], cy - tip[1]), (cx + tip[0], cy + tip[1]))
            distance = np.minimum(distance, stroke - width * (1.5 if style == "dots" else 1.0))
    patchy = 0.74 + 0.13 * waves(rng, x, y, scale=0.16, count=6)
    alpha = coverage(distance, 0.07) * np.clip(patchy, 0.5, 0.92)
    violet, blue = np.array((0.38, 0.15, 0.56)), np.array((0.17, 0.21, 0.60))
    return over(image, violet + rng.random() * (blue - violet), alpha), alpha


# Seven-segment strokes in a cell that is 1 wide and 2 high, and the strokes of each digit.
_SEGMENTS = (
    ((0, 0), (1, 0)),
    ((1, 0), (1, 1)),
    ((1, 1), (1, 2)),
    ((0, 2), (1, 2)),
    ((0, 1), (0, 2)),
    ((0, 0), (0, 1)),
    ((0, 1), (1, 1)),
)
_LIT = np.array(
    [
        [c in digit for c in "abcdefg"]
        for digit in (
            "abcdef",
            "bc",
            "abged",
            "abgcd",
            "fgbc",
            "afgcd",
            "afgedc",
            "abc",
            "abcdefg",
            "abcdfg",
        )
    ]
)


def paint_ruler(image: Array, scene: Scene, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a millimetre scale along one side: an axis, ticks inwards (every fifth longer) and digits."""
    x, y = grid(scene.size)
    side = rng.integers(4) * np.pi / 2
    u, v = rotated(x, y, side + rng.normal(0, 0.05))
    v = v - rng.uniform(0.74, 0.88)  # the axis is v = 0; ticks reach towards the lesion, v < 0
    step = rng.uniform(0.125, 0.15)
    u = u + rng.uniform(0, 5 * step)
    half_width = max(0.02, 0.55 * scene.pixel)
    tick = np.round(u / step)
    reach = np.where(tick % 5 == 0, 0.26, 0.14)
    distance = np.maximum(np.abs(u - tick * step) - half_width, np.abs(v + reach / 2) - reach / 2)
    distance = np.minimum(distance, np.abs(v) - half_width * 1.2)
    if rng.random() < 0.6:
        distance = np.minimum(distance, _digits(u, v, 5 * step, half_width, int(rng.integers(10))))
    alpha = coverage(distance, scene.pixel) * np.float32(0.9)
    return over(image, np.array((0.07, 0.07, 0.09)) + rng.uniform(0, 0.06), alpha), alpha


def _digits(u: Array, v: Array, period: float, half_width: float, first: int) -> Array:
    """Return the distance to the digit at each long tick; `u` modulo the period draws all digits at once."""
    cell = np.floor(u / period)
    width = 0.085
    local_u = (u - cell * period - 0.045) / width
    local_v = (v + 0.37) / width
    lit = _LIT[(cell.astype(int) + first) % 10]  # (h, w, 7)
    distance = np.full_like(u, 9.0)
    for number, (start, end) in enumerate(_SEGMENTS):
        stroke = segment_distance(local_u, local_v, start, end) * width - half_width * 0.8
        distance = np.where(lit[..., number], np.minimum(distance, stroke), distance)
    return distance


# In drawing order: ink and ruler are on the skin, gel covers them, hair is on top.
PAINTERS: dict[str, Painter] = {
    "ink": paint_ink,
    "ruler": paint_ruler,
    "gel_bubble": paint_gel_bubble,
    "hair": paint_hair,
}
