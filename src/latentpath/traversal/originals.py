"""Chooses, encodes and inverts real images for a traversal, and measures their reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latentpath.config.choices import OnError
from latentpath.config.schema import InversionConfig
from latentpath.data.images import ImageSpec, load_images
from latentpath.data.pixels import save_grid, to_model_range
from latentpath.data.records import ImageTable
from latentpath.data.splits import hash_unit
from latentpath.diffusion.autoencoder import decode, encode
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.inversion import InvertedNoise, ddim_inversion, ddpm_inversion
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import Solver
from latentpath.errors import UserError
from latentpath.keys import COMPOSED
from latentpath.runs.files import write_parquet
from latentpath.traversal.engine import Leaf, walk
from latentpath.traversal.plan import Branch, SweepPlan
from latentpath.traversal.store import read_index, read_latents
from latentpath.traversal.sweep import Sample, Sampled, Wave

if TYPE_CHECKING:
    from latentpath.diffusion.networks import Autoencoder

SHOWN = 8  # images in originals.png


def choose_originals(table: ImageTable, *, split: str, seeds: Sequence[int]) -> pd.DataFrame:
    """Choose the images numbered `seeds` of each class: columns class, seed, group and path.

    Candidates are the images of `split` on which every attribute is known to be absent, ordered by a hash of
    their id. The first image of each group (patient or lesion) is kept and numbered from 0. So no two seeds
    of a class are from the same patient, and intervals over seeds are intervals over patients. Raises
    UserError if a class has too few images.
    """
    rows = table.split(split)
    clean = rows[(rows[list(table.attributes)] == 0).all(axis=1)]
    clean = clean.iloc[np.argsort(hash_unit(clean["image_id"].tolist(), salt="originals"), kind="stable")]
    clean = clean.drop_duplicates(["cls", "group"])
    chosen = []
    for cls in table.classes:
        of_class = clean[clean["cls"] == cls].reset_index(drop=True)
        if len(of_class) <= max(seeds):
            raise UserError(
                f"{len(of_class)} patients or lesions of {cls} in the {split} split have an image that is "
                f"known to show none of {', '.join(table.attributes)}; `seeds` asks for "
                f"{max(seeds) + 1}. Lower `seeds`, or take `split=train`, whose images the model has seen."
            )
        chosen.append(of_class.iloc[list(seeds)].assign(seed=list(seeds)))
    columns = ["cls", "seed", "group", "path"]
    return pd.concat(chosen, ignore_index=True)[columns].rename(columns={"cls": "class"})


@dataclass(frozen=True)
class Originals:
    """Real images to traverse from, all in the same order and on the CPU.

    rows: class, seed and path. images: (n, 3, H, W) in [-1, 1]. latents: (n, c, h, w).
    """

    rows: pd.DataFrame
    images: Tensor
    latents: Tensor

    def latents_of(self, cls: str, seeds: Sequence[int]) -> Tensor:
        """Return the latents (seeds, c, h, w) of one class, in the order of `seeds`."""
        numbers = list(zip(self.rows["class"], self.rows["seed"], strict=True))
        return self.latents[[numbers.index((cls, seed)) for seed in seeds]]


def encode_originals(rows: pd.DataFrame, spec: ImageSpec, *, vae: Autoencoder) -> Originals:
    """Read and encode the images of `rows`, the result of `choose_originals`.

    Raises UserError, naming the image, if one cannot be read.
    """
    pixels, _ = load_images(rows, replace(spec, on_error=OnError.fail))
    images = to_model_range(pixels)
    return Originals(rows, images, encode(vae, images))


def from_originals(
    plan: SweepPlan,
    sampler: Sampler,
    denoise: GuidedDenoiser,
    originals: Originals,
    inversion: InversionConfig,
) -> Sample:
    """Return a function that samples a wave from the noise of inverted real images.

    `denoise` is the denoiser of `sampler`.
    """

    def sample(wave: Wave) -> Sampled:
        mine = originals.latents_of(wave.cls, wave.seeds).to(sampler.device)
        noise = _invert(mine, wave, plan, denoise, sampler.solver, inversion)
        return Sampled(*walk(plan, replace(sampler, noise=noise), cls=wave.cls, seeds=wave.seeds))

    return sample


def composed(
    plan: SweepPlan,
    sampler: Sampler,
    denoise: GuidedDenoiser,
    originals: Originals,
    inversion: InversionConfig,
) -> Sample:
    """Return a function that inverts real images and samples them without an edit, `inversion.rounds` times.

    Each round starts from the image of the one before; round 0 is the real image after the VAE. An edit that
    asks for nothing should change nothing, however often it is made: the axiom of composition. `plan` has the
    neutral image alone.
    """

    def sample(wave: Wave) -> Sampled:
        n = plan.num_inference_steps
        rounds = [originals.latents_of(wave.cls, wave.seeds).to(sampler.device)]
        for _ in range(inversion.rounds):
            noise = _invert(rounds[-1], wave, plan, denoise, sampler.solver, inversion)
            rounds.append(walk(plan, replace(sampler, noise=noise), cls=wave.cls, seeds=wave.seeds)[1])
        branches = [Branch(COMPOSED, (), n, n, float(k)) for k in range(len(rounds))]
        leaves = [Leaf(wave.cls, seed, branch) for branch in branches for seed in wave.seeds]
        return Sampled(leaves, torch.cat(rounds))

    return sample


def _invert(
    latents: Tensor,
    wave: Wave,
    plan: SweepPlan,
    denoise: GuidedDenoiser,
    solver: Solver,
    inversion: InversionConfig,
) -> InvertedNoise:
    """Invert `latents` (n, c, h, w) under the neutral prompt with the method of `inversion`.

    DDPM inversion must use the guidance of sampling, DDIM inversion has its own.
    """
    plain = plan if inversion.method == "ddpm" else replace(plan, guidance_scale=inversion.guidance_scale)
    neutral = plan.indexed(plain.edit(wave.cls, plan.branches[0]))
    guided = replace(denoise, letters=[neutral], calls=0, rows=0)
    predict = lambda z, t: guided(z, t, [0] * len(z))  # noqa: E731
    if inversion.method == "ddpm":
        noise = ddpm_inversion(latents, seeds=wave.seeds, denoise=predict, solver=solver)
    else:
        noise = ddim_inversion(
            latents, seeds=wave.seeds, denoise=predict, solver=solver, iterations=inversion.iterations
        )
    denoise.calls += guided.calls
    denoise.rows += guided.rows
    return noise


def reconstruction_errors(latents: Tensor, found: Tensor, images: Tensor, decoded: Tensor) -> pd.DataFrame:
    """Measure the reconstruction of inverted images, one row per image.

        latent_error = |found - latents| / |latents|    (0 is perfect)
        psnr         = 10 log10(4 / mean squared error) of the decoded image against the original, in dB

    `latents`, `found` (n, c, h, w); `images`, `decoded` (n, 3, H, W) in [-1, 1]. The VAE limits the PSNR.
    """
    relative = (found - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)
    return pd.DataFrame({"latent_error": relative.numpy(), "psnr": psnr(images, decoded).numpy()})


def reconstruct(folder: Path, originals: Originals, *, vae: Autoencoder) -> str:
    """Compare the neutral images of the complete sweep in `folder` with the real images.

    Writes originals.parquet (one row per image with its errors) and originals.png (one column per image: the
    real image, its VAE reconstruction, its reconstruction after inversion). Returns a summary in words.
    """
    neutral = read_index(folder).query("method == 'neutral'").set_index(["class", "seed"])
    numbers = list(zip(originals.rows["class"], originals.rows["seed"], strict=True))
    found = read_latents(folder, neutral.loc[numbers].reset_index())
    images, latents = originals.images, originals.latents
    decoded, alone = decode(vae, found), decode(vae, latents)
    errors = reconstruction_errors(latents, found, images, decoded)
    errors["psnr_vae"] = psnr(images, alone).numpy()
    table, picture = folder / "originals.parquet", folder / "originals.png"
    write_parquet(table, pd.concat([originals.rows, errors], axis=1))
    every = max(1, len(images) // SHOWN)
    save_grid(torch.stack([images, alone, decoded])[:, ::every], picture)
    mean = errors.mean()
    return (
        f"inverted and sampled again: latents off by {mean['latent_error']:.1e} of their norm, at most "
        f"{errors['latent_error'].max():.1e}; {mean['psnr']:.1f} dB to the photographs, the VAE alone "
        f"{mean['psnr_vae']:.1f} dB: {picture}"
    )


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, (n,), of two sets of images (n, 3, H, W) in [-1, 1]."""
    error = (images - others).flatten(1).square().mean(dim=1)
    return 10 * torch.log10(4 / error)
