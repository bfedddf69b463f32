"""The training data of phantom-sd: phantoms with web-like captions, and dead leaves images for its VAE."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latentpath.data.phantoms import draw_chest, draw_dermoscopy

# Captions on the web name some of the visible things and never say what is absent. The base model must not
# already know what fine-tuning is meant to teach: to leave out what the prompt does not name.
MENTIONED = 0.5
DERMOSCOPY = ("dermoscopy", "a dermoscopic image", "photo of a mole", "skin lesion", "close up of skin")
CHEST = ("chest x-ray", "an x-ray of the chest", "radiograph of the thorax")
WORDS = {
    "MEL": ("melanoma", "irregular dark mole"),
    "NV": ("nevus", "melanocytic nevus", "benign mole"),
    "hair": ("hair", "hairs"),
    "gel_bubble": ("gel bubble", "bubbles"),
    "ink": ("ink", "ink marker"),
    "ruler": ("ruler", "scale"),
    "Pleural Effusion": ("pleural effusion", "fluid"),
    "Support Devices": ("support devices", "pacemaker"),
}
SEED = 2_000_003  # far from the seeds of the demo, the tests and the experiments


@dataclass(frozen=True)
class Corpus:
    """`images` uint8 (n, size, size, 3), and for each image the names of its contents, its kind first."""

    images: np.ndarray
    contents: list[tuple[str, ...]]


def draw_corpus(*, dermoscopy: int, chest: int, size: int = 64, cache: Path | None = None) -> Corpus:
    """Draw the phantoms on all cores; `cache` (an .npz file) stores them for the next start."""
    if cache is not None and cache.exists():
        with np.load(cache, allow_pickle=False) as stored:
            return Corpus(stored["images"], [tuple(str(c).split("|")) for c in stored["contents"]])
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        drawn = list(pool.map(partial(_dermoscopy, size=size), range(dermoscopy), chunksize=64))
        drawn += list(pool.map(partial(_chest, size=size), range(chest), chunksize=64))
    corpus = Corpus(np.stack([image for image, _ in drawn]), [contents for _, contents in drawn])
    if cache is not None:
        np.savez(cache, images=corpus.images, contents=["|".join(c) for c in corpus.contents])
    return corpus


def _dermoscopy(index: int, *, size: int) -> tuple[np.ndarray, tuple[str, ...]]:
    phantom = draw_dermoscopy(index, size=size, seed=SEED)
    return phantom.image, (
        "dermoscopy",
        phantom.diagnosis,
        *(a for a, on in phantom.attributes.items() if on),
    )


def _chest(index: int, *, size: int) -> tuple[np.ndarray, tuple[str, ...]]:
    phantom = draw_chest(index, size=size, seed=SEED)
    image = np.repeat(phantom.image[..., None], 3, axis=-1)
    return image, ("chest", *(finding for finding, on in phantom.findings.items() if on))


def web_caption(contents: tuple[str, ...], rng: np.random.Generator) -> str:
    """Return a loose caption: a phrase, then about half of the contents in any order; one in ten is empty."""
    if rng.random() < 0.1:
        return ""
    kind, *things = contents
    opening = rng.choice(DERMOSCOPY if kind == "dermoscopy" else CHEST)
    named = [str(rng.choice(WORDS[thing])) for thing in things if rng.random() < MENTIONED]
    rng.shuffle(named)
    return ", ".join([str(opening), *named])


def dead_leaves(count: int, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw dead leaves images (occluding discs, power-law radii; Lee, Mumford & Huang 2001) with shading.

    Their edges and spectra resemble those of photographs, so a VAE trained on them can reconstruct
    photographs. Returns uint8 (count, size, size, 3).
    """
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    images = np.empty((count, size, size, 3), np.uint8)
    for n in range(count):
        palette = rng.uniform(0, 1, (4, 3)) * rng.uniform(0.3, 1)
        canvas = np.ones((size, size, 3), np.float32) * palette[0]
        for _ in range(rng.integers(5, 60)):
            radius = 0.03 / rng.uniform(0.06, 1)
            cx, cy = rng.uniform(0, 1, 2)
            angle, squeeze = rng.uniform(0, np.pi), rng.uniform(0.1, 1) if rng.random() < 0.4 else 1.0
            u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
            v = (-(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)) / squeeze
            distance = np.sqrt(u * u + v * v) - radius
            softness = rng.choice([0.6, 1.5, 8.0], p=[0.6, 0.25, 0.15]) / size
            alpha = np.clip(0.5 - distance / (2 * softness), 0, 1)[..., None]
            colour = palette[rng.integers(4)] + rng.normal(0, 0.08, 3)
            canvas = canvas * (1 - alpha) + colour * alpha
        shade = 1 + rng.uniform(-0.4, 0.4) * (x - 0.5) + rng.uniform(-0.4, 0.4) * (y - 0.5)
        canvas = canvas * shade[..., None]
        if rng.random() < 0.2:
            canvas = canvas.mean(-1, keepdims=True).repeat(3, -1)
        canvas = canvas + rng.normal(0, rng.uniform(0, 0.03), canvas.shape)
        images[n] = np.clip(canvas * 255, 0, 255).astype(np.uint8)
    return images
