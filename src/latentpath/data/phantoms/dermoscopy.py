"""Draws dermoscopic phantoms: a melanoma or nevus on skin, with or without each of four artefacts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .artefacts import PAINTERS, Scene
from .canvas import Array, coverage, grid, over, rotated, stream, texture, to_uint8, waves

DIAGNOSES = ("MEL", "NV")
ATTRIBUTES = ("hair", "gel_bubble", "ink", "ruler")
PREVALENCE = 0.3

_SKIN_TONES = np.array([(0.94, 0.76, 0.70), (0.90, 0.70, 0.59), (0.80, 0.60, 0.47), (0.66, 0.47, 0.36)])
_MELANIN = np.array((0.55, 1.0, 1.35), dtype=np.float32)  # absorbance in red, green, blue: brown, then black


@dataclass(frozen=True)
class Dermoscopy:
    """A drawn dermoscopic image with its ground truth.

    image: (size, size, 3) uint8 RGB. diagnosis: 'MEL' or 'NV'. attributes: presence of each of ATTRIBUTES.
    masks: (size, size) bool for 'lesion' and for every attribute that is present.
    """

    image: Array
    diagnosis: str
    attributes: dict[str, bool]
    masks: dict[str, Array] = field(repr=False)


def draw_dermoscopy(
    index: int,
    *,
    size: int = 64,
    seed: int = 0,
    diagnosis: str | None = None,
    attributes: Mapping[str, bool] | None = None,
    lesion: int | None = None,
) -> Dermoscopy:
    """Draw phantom `index`; the same arguments give the same bytes.

    diagnosis: 'MEL' or 'NV'; None samples one, with probability one half each.
    attributes: presence of each attribute. Attributes that are not named are sampled independently with
    probability PREVALENCE. Adding or removing one attribute changes no pixel outside it.
    lesion: number of the lesion (and person), `index` if None; images of one lesion differ in light, framing
    and artefacts.
    Lengths are relative to `size`, so images look the same from 32 to 512 pixels.
    Raises ValueError for an unknown diagnosis or attribute.
    """
    lesion = index if lesion is None else lesion
    diagnosis = _drawn_diagnosis(seed, lesion) if diagnosis is None else diagnosis
    if diagnosis not in DIAGNOSES:
        raise ValueError(f"diagnosis must be one of {DIAGNOSES}, got {diagnosis!r}")
    if unknown := set(attributes or {}) - set(ATTRIBUTES):
        raise ValueError(f"unknown attributes {sorted(unknown)}; there are {ATTRIBUTES}")
    present = {name: bool(stream(seed, index, f"{name}?").random() < PREVALENCE) for name in ATTRIBUTES}
    present |= {name: bool(value) for name, value in (attributes or {}).items()}

    view = stream(seed, index, "view")
    radius = stream(seed, lesion, "radius").uniform(0.34, 0.56)
    scene = Scene(size, tuple(view.uniform(-0.17, 0.17, 2)), radius)
    x, y = grid(size)
    u, v = rotated((x - scene.centre[0]) / radius, (y - scene.centre[1]) / radius, view.uniform(0, 2 * np.pi))

    skin = _skin(size, stream(seed, lesion, "person"), stream(seed, index, "skin"))
    draw = _melanoma if diagnosis == "MEL" else _naevus
    image, extent = draw(skin, u, v, scene.pixel / radius, stream(seed, lesion, diagnosis))
    masks = {"lesion": extent > 0.5}
    for name, paint in PAINTERS.items():
        if present[name]:
            image, alpha = paint(image, scene, stream(seed, index, name))
            masks[name] = alpha > 0
    image = image * _light(size, stream(seed, index, "light"))
    return Dermoscopy(to_uint8(image), diagnosis, present, masks)


def _drawn_diagnosis(seed: int, lesion: int) -> str:
    return DIAGNOSES[int(stream(seed, lesion, "diagnosis").random() < 0.5)]


def _skin(size: int, person: np.random.Generator, rng: np.random.Generator) -> Array:
    """Draw skin of one tone with redness, mottling and faint furrows; (size, size, 3) in [0, 1]."""
    position = person.beta(1.2, 2.0) * (len(_SKIN_TONES) - 1)
    tone = [np.interp(position, range(len(_SKIN_TONES)), channel) for channel in _SKIN_TONES.T]
    tone = np.array(tone, dtype=np.float32) + person.normal(0, 0.012, 3).astype(np.float32)
    x, y = grid(size)
    pigment = 0.035 * texture(rng, size, 6) + 0.03 * texture(rng, size, 20)
    blood = 0.03 * texture(rng, size, 4) + 0.025 * texture(rng, size, 12)
    if size >= 128:  # pores, too fine for small images
        pigment += 0.03 * texture(rng, size, 56)
    angle, sway = rng.uniform(0, np.pi), 0.08 * waves(rng, x, y, scale=0.6, count=4)
    for turn in (0.0, 1.1):  # two directions of furrows
        u, _ = rotated(x, y, angle + turn)
        pigment += 0.02 * np.cos((u + sway) * rng.uniform(22, 30)) ** 4
    blush = np.array((0.15, 1.0, 0.8), dtype=np.float32)  # blood absorbs green and blue
    return tone * np.exp(-pigment[..., None] * _MELANIN - blood[..., None] * blush)


def _light(size: int, rng: np.random.Generator) -> Array:
    """Return the brightness (size, size, 3) of a slightly tinted lamp: a gradient and darker corners."""
    x, y = grid(size)
    u, _ = rotated(x, y, rng.uniform(0, 2 * np.pi))
    corner = np.maximum(x * x + y * y - 0.5, 0.0)
    brightness = rng.uniform(0.93, 1.06) * (1 + rng.uniform(0, 0.09) * u)
    brightness = brightness * (1 - rng.uniform(0.02, 0.22) * corner)
    return brightness[..., None] * (1 + rng.normal(0, 0.018, 3)).astype(np.float32)


def _mesh(rng: np.random.Generator, u: Array, v: Array, *, scale: float, disorder: float) -> Array:
    """Return a pigment network in [0, 1]: dark lines around pale holes, about `scale` apart."""
    u = u + disorder * scale * waves(rng, u, v, scale=0.5, count=5)
    v = v + disorder * scale * waves(rng, u, v, scale=0.5, count=5)
    turn = rng.uniform(0, np.pi)
    holes = np.zeros_like(u)
    for k in range(3):
        holes = holes + np.cos(rotated(u, v, turn + k * np.pi / 3)[0] * (2 * np.pi / scale))
    return 1.0 - coverage(0.2 - holes, 2.0)


def _outline(rng: np.random.Generator, angle: Array, harmonics: range, amplitude: float) -> Array:
    """Return an outline: radius by angle, 1 on average; the harmonics share the amplitude."""
    radius = np.ones_like(angle)
    for k in harmonics:
        radius += amplitude * rng.uniform(0.5, 1.3) / k**0.8 * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return radius


def _naevus(skin: Array, u: Array, v: Array, pixel: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a nevus: round or oval, an even brown, with a border that fades all around."""
    stretch = np.float32(np.sqrt(rng.uniform(0.72, 1.0)))
    u, v = u * stretch, v / stretch
    rho, angle = np.hypot(u, v), np.arctan2(v, u)
    extent = coverage(rho - _outline(rng, angle, range(2, 5), 0.035), max(rng.uniform(0.26, 0.5), 2 * pixel))
    density = rng.uniform(0.62, 1.25) * (1 + rng.uniform(-0.1, 0.3) * (0.6 - rho * rho).clip(-0.4))
    density = density * (1 + 0.04 * waves(rng, u, v, scale=0.7, count=6))
    density = density * (1 + rng.uniform(0.0, 0.26) * (_mesh(rng, u, v, scale=0.27, disorder=0.2) - 0.5))
    warmth = np.array((1.0, 1.0, rng.uniform(0.9, 1.1)), dtype=np.float32)
    return skin * np.exp(-(density * extent)[..., None] * _MELANIN * warmth), extent


def _melanoma(skin: Array, u: Array, v: Array, pixel: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a melanoma: notched, asymmetric, with streaks, in browns, black, blue-grey, red and scar-white."""
    stretch = np.float32(np.sqrt(rng.uniform(0.65, 0.95)))
    u, v = u * stretch, v / stretch
    rho, angle = np.hypot(u, v), np.arctan2(v, u)
    border = 1.1 * _outline(rng, angle, range(2, 7), 0.2) + 0.05 * waves(rng, u, v, scale=0.4)
    if rng.random() < 0.6:  # streaks: finger-like projections on one part of the border
        part = coverage(np.cos(angle - rng.uniform(0, 2 * np.pi)) * -1.0 + 0.2, 0.8)
        wander = 2.5 * waves(rng, u, v, scale=0.9, count=4)
        border += part * rng.uniform(0.05, 0.12) * np.cos(rng.integers(12, 19) * angle + wander)
    inside = rho - border.clip(0.5, 1.6)
    fade = rng.uniform(0.1, 0.2) * (1.5 + waves(rng, u, v, scale=0.9, count=4)).clip(0.6, 3.0)
    extent = coverage(inside, np.maximum(fade, 2 * pixel))  # the border is sharp or soft by place
    core = coverage(inside + 0.22, 0.3)  # colours other than brown stay away from the border

    density = rng.uniform(0.8, 1.25) * (1 + 0.22 * waves(rng, u, v, scale=0.6))
    density = density * (1 + rng.uniform(0.1, 0.5) * (_mesh(rng, u, v, scale=0.36, disorder=0.5) - 0.5))
    blotch = _patch(rng, u, v, reach=0.55)  # black, off the centre
    density = density.clip(0.35) + blotch * rng.uniform(0.9, 1.7)
    for _ in range(rng.integers(2, 7)):  # globules
        spot, turn = rng.uniform(0.3, 0.9), rng.uniform(0, 2 * np.pi)
        distance = np.hypot(u - spot * np.cos(turn), v - spot * np.sin(turn)) - rng.uniform(0.05, 0.1)
        density = density + 1.1 * coverage(distance, 0.08 + pixel)
    image = skin * np.exp(-(density * extent)[..., None] * _MELANIN)

    hues = {"veil": (0.38, 0.43, 0.53), "red": (0.69, 0.36, 0.32), "scar": (0.84, 0.70, 0.67)}
    chance = {"veil": 0.9, "red": 0.65, "scar": 0.4}
    for name, colour in hues.items():
        area = _patch(rng, u, v, reach=0.6) * core * rng.uniform(0.5, 0.8)
        if rng.random() < chance[name]:
            image = over(image, np.array(colour) * rng.uniform(0.85, 1.1), area)
    return image, extent


def _patch(rng: np.random.Generator, u: Array, v: Array, *, reach: float) -> Array:
    """Return the opacity, in [0, 1], of a ragged area away from the centre of the lesion."""
    turn, away, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, reach), rng.uniform(0.32, 0.52)
    distance = np.hypot(u - away * np.cos(turn), v - away * np.sin(turn)) - radius
    return coverage(distance + 0.13 * waves(rng, u, v, scale=0.4, count=8), 0.5)
