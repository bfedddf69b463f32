"""Traverses: samples a plan with a model from noise, from real images, or in search of flip points."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from latentpath.config.schema import InversionConfig, SamplerConfig, TimestepsConfig
from latentpath.data.images import ImageSpec
from latentpath.data.records import ImageTable
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.judge.classifier import Classifier
from latentpath.keys import COMPOSED
from latentpath.runs.progress import bar
from latentpath.runs.ranks import SINGLE, Rank
from latentpath.traversal.bisect import bisecting, flips_table, judge_of_latents
from latentpath.traversal.cost import composition_work, inversion_work, search_work
from latentpath.traversal.originals import (
    choose_originals,
    composed,
    encode_originals,
    from_originals,
    reconstruct,
)
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.planning import describe_cost
from latentpath.traversal.sampling import build_denoiser
from latentpath.traversal.store import read_flips
from latentpath.traversal.sweep import Sample, from_noise, sweep
from latentpath.traversal.tuning import seconds_per_row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Traversal:
    """The settings of a traversal, which are the same for each plan and model that it samples.

    image_size is in pixels. dtype is that of the U-Net. sliders: the folder of the adapter of each attribute,
    for plans with the method slider. Of several processes only rank 0 prints.
    """

    sampler: SamplerConfig
    timesteps: TimestepsConfig
    inversion: InversionConfig
    image_size: int
    accelerator: str
    dtype: torch.dtype
    sliders: Mapping[str, Path]
    rank: Rank = SINGLE

    @cached_property
    def device(self) -> torch.device:
        """The device of this process. Raises UserError if this machine does not have it."""
        return device_of(self.accelerator, self.rank.local_index)

    def print_cost(
        self, plan: SweepPlan, model: BaseModel, *, measure: bool = False, prefix: str = ""
    ) -> None:
        """Print the cost of `plan`, each line after `prefix`; with `measure` a row of the U-Net is timed."""
        seconds = None
        if measure:
            shape = model.latent_shape(self.image_size)
            seconds = seconds_per_row(self._denoiser(plan, model), latent_shape=shape, device=self.device)
        lines = describe_cost(
            plan,
            model,
            image_size=self.image_size,
            sampler=self.sampler,
            timesteps=self.timesteps,
            inversion=self.inversion,
            seconds_per_row=seconds,
        )
        text = "\n".join(prefix + line for line in lines)
        Console().print(text, soft_wrap=True, markup=False, highlight=False)

    def sweep(
        self,
        plan: SweepPlan,
        model: BaseModel,
        folder: Path,
        description: str,
        *,
        way: Callable[[Sampler, GuidedDenoiser], Sample] | None = None,
        besides: int = 0,
        like: GuidedDenoiser | None = None,
    ) -> GuidedDenoiser:
        """Sample `plan` into `folder`, together with the other processes.

        way: makes the function that samples a wave; None: from random noise. besides: the U-Net rows that it
        takes outside the walk of `plan`. like: a denoiser that was tuned for the same architecture. Returns
        the denoiser, which counts its work.
        """
        denoise = self._denoiser(plan, model, tuned=like)
        # DDPM inversion needs the noise that DDPM adds.
        eta = 1.0 if self.inversion.method == "ddpm" else self.sampler.eta
        solver = build_solver(self.sampler.solver, model.schedule(), plan.num_inference_steps, eta=eta)
        noise = SeededNoise(model.latent_shape(self.image_size))
        sampler = Sampler(denoise, solver, noise, self.device, plan.remembers, plan.borrows)
        with bar(description, plan.unet_rows + besides, show=self.rank.is_zero) as advance:
            denoise.on_call = advance
            sweep(
                plan,
                sample=way(sampler, denoise) if way else from_noise(plan, sampler),
                folder=folder,
                shard_seeds=self.sampler.shard_seeds,
                on_done=lambda seeds: advance(seeds * plan.rows_per_seed),
            )
        return denoise

    def search(self, plan: SweepPlan, model: BaseModel, folder: Path, judge: Classifier) -> GuidedDenoiser:
        """Search the flip points of `plan` by bisection, as `judge` decides, and print them."""
        vae = model.vae()
        search = {
            "swap_steps": list(self.timesteps.swap_steps),
            "judge": judge_of_latents(judge.to(self.device), vae.to(self.device)),
            "threshold": self.timesteps.threshold,
            "checks": self.timesteps.checks,
        }
        denoise = self.sweep(
            plan,
            model,
            folder,
            "searching",
            way=lambda sampler, _: bisecting(plan, sampler, **search),
            besides=search_work(plan, self.timesteps.swap_steps, checks=self.timesteps.checks).rows,
        )
        if self.rank.is_zero:
            Console(markup=False).print(flips_table(read_flips(folder), plan.num_inference_steps))
        return denoise

    def sweep_originals(
        self, plan: SweepPlan, model: BaseModel, folder: Path, table: ImageTable, spec: ImageSpec
    ) -> GuidedDenoiser:
        """Sweep from inverted images of `table`, then log their reconstruction error without an edit.

        With `inversion.rounds` above 1 the images are inverted and sampled again, into `folder`/composition.
        """
        vae = model.vae()
        vae.to(self.device)
        chosen = choose_originals(table, split=self.inversion.split, seeds=plan.seeds)
        originals = encode_originals(chosen, spec, vae=vae)
        denoise = self.sweep(
            plan,
            model,
            folder,
            "inverting and sweeping",
            way=lambda sampler, denoise: from_originals(plan, sampler, denoise, originals, self.inversion),
            besides=inversion_work(plan, self.inversion).rows,
        )
        log.info(reconstruct(folder, originals, vae=vae))
        if self.inversion.rounds > 1:
            few = plan.plain([])
            self.sweep(
                few,
                model,
                folder / COMPOSED,
                "inverting again and again",
                way=lambda sampler, denoise: composed(few, sampler, denoise, originals, self.inversion),
                besides=composition_work(plan, self.inversion).rows - few.unet_rows,
                like=denoise,
            )
        return denoise

    def _denoiser(
        self, plan: SweepPlan, model: BaseModel, tuned: GuidedDenoiser | None = None
    ) -> GuidedDenoiser:
        return build_denoiser(
            plan,
            model,
            self.sampler,
            image_size=self.image_size,
            device=self.device,
            dtype=self.dtype,
            tuned=tuned,
            sliders=self.sliders,
        )
