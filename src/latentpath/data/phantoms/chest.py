"""Draws chest phantoms: radiographs with or without pleural effusion and support devices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .canvas import Array, coverage, grid, over, rotated, segment_distance, stream, texture, to_uint8, waves

FINDINGS = ("Pleural Effusion", "Support Devices")
PREVALENCE = 0.4


@dataclass(frozen=True)
class Chest:
    """A drawn radiograph with its ground truth.

    image: (size, size) uint8, dense tissue bright. findings: presence of each of FINDINGS.
    masks: (size, size) bool for every finding that is present.
    """

    image: Array
    findings: dict[str, bool]
    masks: dict[str, Array] = field(repr=False)


@dataclass(frozen=True)
class _Body:
    """Coordinates in the patient's frame and the anatomy that findings need; arrays are (size, size)."""

    x: Array
    y: Array
    pixel: float
    lungs: Array  # like a signed distance: negative inside the lungs, ignoring the diaphragm
    diaphragm: Array  # height (y) of the domes at each x
    lateral: bool


def draw_chest(
    index: int,
    *,
    size: int = 64,
    seed: int = 0,
    findings: Mapping[str, bool] | None = None,
    patient: int | None = None,
    lateral: bool = False,
) -> Chest:
    """Draw phantom `index`; the same arguments give the same bytes.

    findings: presence of each finding. Findings that are not named are sampled independently with probability
    PREVALENCE. Adding or removing one finding changes no pixel outside it.
    patient: number of the patient, `index` if None; images of one patient differ in pose and exposure.
    lateral: draw a view from the side, with much less detail than the frontal view.
    Lengths are relative to `size`. Raises ValueError for an unknown finding.
    """
    patient = index if patient is None else patient
    if unknown := set(findings or {}) - set(FINDINGS):
        raise ValueError(f"unknown findings {sorted(unknown)}; there are {FINDINGS}")
    present = {name: bool(stream(seed, index, f"{name}?").random() < PREVALENCE) for name in FINDINGS}
    present |= {name: bool(value) for name, value in (findings or {}).items()}

    x, y = _pose(size, stream(seed, index, "pose"))
    draw = _lateral_anatomy if lateral else _frontal_anatomy
    image, body = draw(x, y, size, stream(seed, patient, "anatomy"))
    masks = {}
    for name, paint in (("Pleural Effusion", _effusion), ("Support Devices", _devices)):
        if present[name]:
            image, alpha = paint(image, body, stream(seed, index, name))
            masks[name] = alpha > 0
    exposure = stream(seed, index, "exposure")
    image = image.clip(0, 1) ** exposure.uniform(0.85, 1.2) * exposure.uniform(0.92, 1.0)
    return Chest(to_uint8(image), present, masks)


def _pose(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    x, y = grid(size)
    x, y = rotated(x - rng.uniform(-0.05, 0.05), y - rng.uniform(-0.04, 0.06), rng.normal(0, 0.025))
    zoom = rng.uniform(0.96, 1.06)
    return x * zoom, y * zoom


def _ellipse(x: Array, y: Array, cx: float, cy: float, a: float, b: float) -> Array:
    """Return the approximate distance to an ellipse, negative inside."""
    return (np.sqrt(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2) - 1) * np.float32(min(a, b))


def _frontal_anatomy(x: Array, y: Array, size: int, rng: np.random.Generator) -> tuple[Array, _Body]:
    """Draw the thorax from the front; the patient's right is on the left of the image."""
    side = np.abs(x)
    pixel = 2.0 / size
    soft = max(0.05, 1.5 * pixel)
    width, apex = rng.uniform(0.94, 1.04), rng.uniform(-0.78, -0.70)

    flank = 0.98 - 0.05 * (y + 0.2) ** 2
    slope = rng.uniform(0.3, 0.5)
    shoulder = -0.88 + slope * (side - 0.22).clip(0) - 0.05 / (side - 0.1).clip(0.05)  # rises toward the neck
    torso = np.maximum(side - flank * width, shoulder - y)
    image = 0.03 + rng.uniform(0.44, 0.54) * coverage(torso, 0.12)

    lungs = np.minimum(
        _ellipse(x, y, -0.43 * width, 0.22, 0.38 * width, 0.22 - apex),
        _ellipse(x, y, 0.44 * width, 0.22, 0.36 * width, 0.24 - apex),
    )
    dome = rng.uniform(0.40, 0.54) + 0.06 * (x > 0)  # y increases downwards; the liver lifts the right dome
    diaphragm = dome + rng.uniform(1.4, 2.0) * (side - 0.36 * width) ** 2
    air = coverage(np.maximum(lungs, y - diaphragm), soft)
    vessels = waves(rng, x, y, scale=0.11, count=12) * np.exp(-((side - 0.2) ** 2 + (y - 0.05) ** 2) / 0.14)
    image = image - air * (rng.uniform(0.29, 0.36) - 0.035 * vessels - 0.06 * y)
    image = image + 0.14 * coverage(diaphragm - y, 0.2) * coverage(torso, 0.1)  # liver and belly

    # Periodic coordinates: one rib per unit.
    rib = (y - 0.55 * (side - 0.22) ** 2 - 0.32 * side) / 0.165 + rng.uniform(0, 1)
    behind = np.abs(rib - np.round(rib)) * 0.165 - 0.034
    front_rib = (y + 0.75 * side) / 0.19 + rng.uniform(0, 1)
    before = np.abs(front_rib - np.round(front_rib)) * 0.19 - 0.036
    cage = coverage(lungs - 0.06, 0.06) * coverage(y - diaphragm - 0.1, 0.2)
    image = image + cage * (0.075 * coverage(behind, soft) + 0.04 * coverage(before, soft) * (side > 0.35))

    size_of_heart = rng.uniform(0.88, 1.2)
    hx, hy = rotated(x - 0.1, y - 0.3, 0.6)
    heart = _ellipse(hx, hy, 0, 0, 0.36 * size_of_heart, 0.27 * size_of_heart)
    knob = _ellipse(x, y, 0.12, -0.22, 0.11, 0.12)
    middle = side - 0.13 - 0.05 * (y + 0.3) ** 2
    centre = np.minimum(np.minimum(heart, knob), middle)
    dense = coverage(centre, 0.11) * coverage(-0.95 - y, 0.3)
    image = over(image, np.full_like(x, rng.uniform(0.64, 0.74)), dense * 0.88)
    vertebra = np.cos((y + rng.uniform(0, 1)) * 2 * np.pi / 0.17)
    image = image + (0.05 + 0.02 * vertebra) * coverage(side - 0.085, 0.05) * coverage(y - 1.2, 0.4)
    image = image - 0.12 * coverage(np.abs(x + 0.01) - 0.05, 0.05) * coverage(y + 0.2, 0.3)  # windpipe

    for sign in (-1, 1):
        end = (sign * 0.78 * width, -0.62 + rng.uniform(-0.06, 0.06))
        bow = 0.07 * np.sin((np.abs(x) - 0.1) / 0.68 * np.pi * 2)
        bone = segment_distance(x, y + bow, (sign * 0.1, -0.5), end) - 0.036
        image = image + 0.15 * coverage(bone, soft)
    image = image * (1 + 0.02 * texture(rng, size, 24))
    return image, _Body(x, y, pixel, lungs, diaphragm, lateral=False)


def _lateral_anatomy(x: Array, y: Array, size: int, rng: np.random.Generator) -> tuple[Array, _Body]:
    """Draw the thorax from the side, with the breastbone on the left and the spine on the right."""
    pixel = 2.0 / size
    depth = rng.uniform(0.9, 1.05)
    image = 0.03 + 0.5 * coverage(np.maximum(np.abs(x) - 0.8 * depth, -0.95 - y), 0.12)
    lungs = _ellipse(x, y, 0.02, 0.15, 0.6 * depth, 0.85)
    diaphragm = 0.42 + 0.5 * (x + 0.25) ** 2 + 0.0 * y
    image = image - 0.33 * coverage(np.maximum(lungs, y - diaphragm), 0.06)
    image = image + 0.14 * coverage(diaphragm - y, 0.2) * coverage(np.abs(x) - 0.8 * depth, 0.12)
    image = over(image, np.full_like(x, 0.62), 0.8 * coverage(_ellipse(x, y, -0.25, 0.28, 0.28, 0.3), 0.12))
    spine = np.abs(x - 0.55 * depth - 0.06 * np.cos(2 * y)) - 0.09
    vertebra = np.cos((y + rng.uniform(0, 1)) * 2 * np.pi / 0.17)
    image = image + (0.15 + 0.05 * vertebra) * coverage(spine, 0.07)
    rib = (y - 0.9 * x) / 0.17 + rng.uniform(0, 1)
    behind = np.abs(rib - np.round(rib)) * 0.17 - 0.034
    image = image + 0.05 * coverage(behind, 0.06) * coverage(lungs, 0.1)
    image = image * (1 + 0.02 * texture(rng, size, 24))
    return image, _Body(x, y, pixel, lungs, diaphragm, lateral=True)


def _effusion(image: Array, body: _Body, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw fluid in one or both costophrenic angles; its border is concave and rises at the chest wall."""
    sides = ((-1,), (1,), (-1, 1))[int(rng.choice(3, p=(0.4, 0.35, 0.25)))]
    sides = (1,) if body.lateral else sides
    alpha = np.zeros_like(body.x)
    for sign in sides:
        outward = (sign * body.x / 0.8).clip(0, 1)  # 0 at the spine, 1 at the chest wall
        level = rng.uniform(0.12, 0.46) - rng.uniform(0.35, 0.55) * outward**2.5
        fluid = np.maximum(body.lungs, level + 0.05 - body.y)
        alpha = np.maximum(
            alpha, coverage(fluid, 0.1) * coverage(-sign * body.x, 0.3 if body.lateral else 0.1)
        )
    below = coverage(body.y - body.diaphragm - 0.3, 0.4)  # fades out in the abdomen
    alpha = alpha * below * np.float32(0.9)
    return over(image, np.full_like(alpha, rng.uniform(0.68, 0.76)), alpha), alpha


def _devices(image: Array, body: _Body, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw one to three of: pacemaker with leads, central line, tracheal tube, chest tube, electrodes."""
    kit = ("pacemaker", "line", "tracheal", "drain", "electrodes")
    chosen = rng.choice(kit, size=int(rng.integers(1, 4)), replace=False, p=(0.3, 0.22, 0.16, 0.14, 0.18))
    thin, thick = max(0.016, 0.5 * body.pixel), max(0.024, 0.6 * body.pixel)
    sign = rng.choice((-1, 1))
    shapes: list[Array] = []
    if "pacemaker" in chosen:
        cx, cy = sign * rng.uniform(0.5, 0.62), rng.uniform(-0.46, -0.32)
        bx, by = rotated(body.x - cx, body.y - cy, rng.normal(0, 0.3))
        shapes.append(np.hypot((np.abs(bx) - 0.07).clip(0), (np.abs(by) - 0.05).clip(0)) - 0.06)
        for _ in range(rng.integers(1, 3)):
            tip = (rng.uniform(-0.02, 0.3), rng.uniform(0.3, 0.52))
            shapes.append(_curve(body, (cx, cy), (sign * 0.25, -0.75), (-0.2, -0.2), tip) - thin)
    if "line" in chosen:
        start = (-sign * rng.uniform(0.3, 0.75), rng.uniform(-0.95, -0.7))
        shapes.append(
            _curve(body, start, (-sign * 0.2, -0.6), (-0.12, -0.45), (-0.1, rng.uniform(0, 0.2))) - thin
        )
    if "tracheal" in chosen:
        tip = rng.uniform(-0.35, -0.2)
        shapes.append(_curve(body, (0.03, -1.1), (-0.01, -0.8), (0.0, -0.6), (-0.01, tip)) - thick)
    if "drain" in chosen:
        tip = (sign * rng.uniform(0.25, 0.4), rng.uniform(-0.5, -0.1))
        shapes.append(_curve(body, (sign * 1.0, 0.45), (sign * 0.7, 0.35), (sign * 0.6, 0.1), tip) - thick)
    if "electrodes" in chosen:
        for spot in ((-0.6, -0.35), (0.6, -0.3), (rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.5))):
            end = (spot[0] + rng.normal(0, 0.04), spot[1] + rng.normal(0, 0.04))
            shapes.append(np.hypot(body.x - end[0], body.y - end[1]) - 0.055)
            bend = (0.6 * end[0] + rng.normal(0, 0.1), 0.6)
            shapes.append(
                _curve(body, end, (end[0], end[1] + 0.2), bend, (rng.uniform(-0.3, 0.3), 1.1)) - thin
            )
    alpha = coverage(np.minimum.reduce(shapes), body.pixel) * np.float32(0.9)
    return over(image, np.full_like(alpha, 0.98), alpha), alpha


def _curve(body: _Body, *points: tuple[float, float]) -> Array:
    """Return the distance of every pixel to the cubic Bezier curve with these four control points."""
    p0, p1, p2, p3 = (np.array(point) for point in points)
    t = np.linspace(0, 1, 15)[:, None]
    line = (1 - t) ** 3 * p0 + 3 * t * (1 - t) ** 2 * p1 + 3 * t**2 * (1 - t) * p2 + t**3 * p3
    pieces = [segment_distance(body.x, body.y, tuple(a), tuple(b)) for a, b in pairwise(line)]
    return np.minimum.reduce(pieces)
