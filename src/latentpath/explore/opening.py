"""Opens a finished run for the explorer: its fine-tuned model, its judge, and the settings of its sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from latentpath.config.schema import Config
from latentpath.data.captions import caption_template
from latentpath.data.images import ImageSpec
from latentpath.diffusion.adapters import ADAPTER, load_adapter
from latentpath.diffusion.autoencoder import encode
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning, concatenate
from latentpath.diffusion.execution import device_of, prepare
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.mix import Mix
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.prompts import PromptEncoder
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.errors import UserError
from latentpath.explore.explorer import Explorer
from latentpath.explore.methods import methods_of
from latentpath.explore.uploads import Uploads
from latentpath.judge.classifier import load_classifier
from latentpath.runs.files import read_yaml
from latentpath.runs.stages import stage_dir
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.sampling import conditioning_of
from latentpath.traversal.words import Prompt


class PromptTable:
    """Encodes prompts, each text once, and keeps the last table: most steps of an edit ask for the same."""

    def __init__(self, encoder: PromptEncoder, device: torch.device) -> None:
        self._encoder, self._device = encoder, device
        self._texts: dict[str, Conditioning] = {}
        self._last: tuple[tuple[Prompt, ...], Conditioning] | None = None

    def __call__(self, prompts: Sequence[Prompt]) -> Conditioning:
        """Return the conditioning of the prompts, one row each, on the device."""
        key = tuple(prompts)
        if self._last is None or self._last[0] != key:
            self._last = (key, conditioning_of(prompts, self._encoded).to(self._device, torch.float32))
        return self._last[1]

    def tokens(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """Return the token ids of the text of each prompt."""
        return self._encoder.tokens([prompt.text for prompt in prompts])

    def _encoded(self, texts: Sequence[str]) -> Conditioning:
        for text in texts:
            if text not in self._texts:
                self._texts[text] = self._encoder([text])
        return concatenate([self._texts[text] for text in texts])


def open_run(run_dir: Path) -> Explorer:
    """Load the fine-tuned model and the judge of a run; without a `classify` stage it has no judge.

    Raises UserError if the folder is no run or has no fine-tuned model.
    """
    cfg = _config(run_dir)
    pipeline = stage_dir(run_dir, "finetune", cfg) / "pipeline"
    if not pipeline.is_dir():
        raise UserError(
            f"{run_dir} has no fine-tuned model, expected {pipeline}. Run "
            f"`latentpath run name={run_dir.name}` with the overrides of the run first."
        )
    classify = stage_dir(run_dir, "classify", cfg)
    judge = load_classifier(classify, plugins=cfg.plugins) if classify.is_dir() else None
    device, model = device_of("auto"), BaseModel(str(pipeline))
    n, dataset = cfg.timesteps.num_inference_steps, cfg.dataset
    schedule, vae = model.schedule(), model.vae().to(device)
    prompts = PromptTable(model.prompt_encoder(dataset.image_size), device)
    unet = model.unet()
    sliders = [stage_dir(run_dir, f"sliders/{name}", cfg) for name in cfg.attribute.names]
    trained = all((folder / ADAPTER).is_file() for folder in sliders)
    if trained:
        for name, folder in zip(cfg.attribute.names, sliders, strict=True):
            load_adapter(unet, folder, name)
    denoise = GuidedDenoiser(
        unet=prepare(unet, device=device, dtype=torch.float32, channels_last=True),
        conditioning=prompts([Prompt("")]),
        letters=[Mix.of((0, 1.0))],
        batch_size=1,
        rescale=cfg.sampler.guidance_rescale,
    )
    return Explorer(
        plan=SweepPlan(
            captions=caption_template(dataset.captions, dataset.classes, dataset.attributes),
            classes=tuple(dataset.classes),
            seeds=(),
            num_inference_steps=n,
            branches=(),
            guidance_scale=cfg.sampler.guidance_scale,
            negative_prompt=cfg.sampler.negative_prompt,
            one_step_late=cfg.timesteps.one_step_late,
        ),
        sampler=Sampler(
            denoise,
            build_solver(cfg.sampler.solver, schedule, n, eta=cfg.sampler.eta),
            SeededNoise(model.latent_shape(dataset.image_size)),
            device,
            remembers=True,
            borrows=True,
        ),
        inverting=build_solver("ddim", schedule, n, eta=1),
        encode=prompts,
        vae=vae,
        uploads=Uploads(ImageSpec.of(dataset), lambda image: encode(vae, image[None])[0]),
        judge=judge and judge.to(device),
        attributes=tuple(cfg.attribute.names),
        methods=methods_of(cfg, sliders=trained),
        adapters=trained,
    )


def _config(run_dir: Path) -> Config:
    """Return the configuration of the run's sweep, with the folder where the run is now as `output_dir`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for stage in ("traverse", "finetune"):
        if (file := run_dir / stage / "config.yaml").is_file():
            try:
                merged = OmegaConf.merge(OmegaConf.structured(Config), read_yaml(file))
            except OmegaConfBaseException as error:
                raise UserError(
                    f"{file} was written by a version with other settings ({str(error).splitlines()[0]}). "
                    f"Run `latentpath run name={run_dir.name} overwrite=true` with the overrides of the run."
                ) from None
            cfg = cast(Config, merged)
            cfg.output_dir = str(run_dir.parent)
            return cfg
    raise UserError(
        f"{run_dir} has neither a sweep nor a fine-tuned model. Give the name of a run in outputs/, such as "
        "`latentpath explore demo`, or the folder of a run."
    )
