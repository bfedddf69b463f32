"""Samples one edit at a time from a finished run; trunks are kept, so that a move costs the suffix alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from torch import Tensor

from latentpath.config.schema import Config
from latentpath.data.captions import caption_template
from latentpath.diffusion.autoencoder import decode
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning, concatenate
from latentpath.diffusion.execution import device_of, prepare
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.mix import Mix
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import State, build_solver
from latentpath.errors import UserError, near
from latentpath.explore.ways import Way, ways_of
from latentpath.judge.classifier import Classifier, load_classifier
from latentpath.runs.files import read_yaml
from latentpath.runs.stages import stage_dir
from latentpath.traversal.plan import Branch, SweepPlan
from latentpath.traversal.sampling import conditioning_of
from latentpath.traversal.words import Letter, Prompt

TRUNKS = 32  # trunks to keep: at 512 px and 50 steps each takes 3 MB


@dataclass(frozen=True)
class Choice:
    """What the user has set: the edit of one seed.

    swap_step is in 0..N: 0 is the strongest edit, N the unedited image. dial is that of the method (`Way`);
    None is its usual value.
    """

    cls: str
    attribute: str
    method: str = "swap"
    seed: int = 0
    swap_step: int = 0
    dial: float | None = None


@dataclass(frozen=True)
class Edit:
    """An edited image beside the unedited one: (3, h, w) each in [-1, 1], and the judge's probabilities.

    before, after: name of an attribute or class -> probability. rows: the U-Net rows that this edit cost.
    """

    origin: Tensor
    image: Tensor
    before: dict[str, float]
    after: dict[str, float]
    rows: int


@dataclass
class Explorer:
    """Edits of a run's fine-tuned model, with the solver, guidance and captions of its sweep.

    A trunk is the path of a seed along one letter: its states before each step and after the last. An edit
    begins with the trunk of the unedited image, and is sampled from the first step with another letter. Calls
    from several threads wait for each other.
    """

    plan: SweepPlan
    sampler: Sampler
    encode: PromptTable
    vae: Any
    judge: Classifier | None
    attributes: tuple[str, ...]
    ways: dict[str, Way]
    trunks: OrderedDict[tuple[int, Letter], list[State]] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    @property
    def steps(self) -> int:
        """The number of steps of the reverse diffusion, N."""
        return self.plan.num_inference_steps

    def edit(self, choice: Choice) -> Edit:
        """Sample the edit. Raises UserError for a class, attribute, method or number that the run has not."""
        branch = self._branch(choice)
        word = self.plan.word(choice.cls, branch)
        unedited = self.ways[choice.method].origin(self.plan.prompts_of(choice.cls, branch))
        with self.lock, torch.no_grad():
            before = self._denoise.rows
            trunk = self._trunk(choice.seed, unedited)
            first = next((step for step, letter in enumerate(word) if letter != unedited), self.steps)
            state = trunk[first]
            for step in range(first, self.steps):
                state = self._step(state, step, choice.seed, word[step])
            rows = self._denoise.rows - before
            images = decode(self.vae, torch.cat([trunk[-1][0], state[0]]))
            origin, edited = self._judged(images)
        return Edit(images[0], images[1], origin, edited, rows)

    def latents(self, choice: Choice) -> Tensor:
        """Return the latents (c, h, w) that the edit ends with."""
        word = self.plan.word(choice.cls, self._branch(choice))
        with self.lock, torch.no_grad():
            state = self.sampler.start([choice.seed])
            for step, letter in enumerate(word):
                state = self._step(state, step, choice.seed, letter)
        return state[0][0]

    def _branch(self, choice: Choice) -> Branch:
        for what, value, known in (
            ("class", choice.cls, self.plan.classes),
            ("attribute", choice.attribute, self.attributes),
            ("method", choice.method, self.ways),
        ):
            if value not in known:
                raise UserError(f"this run has no {what} {value!r}.{near(value, known)}")
        if not 0 <= choice.swap_step <= self.steps:
            raise UserError(f"the swap step is {choice.swap_step}, expected 0..{self.steps}.")
        way = self.ways[choice.method]
        dial = way.usual if choice.dial is None else choice.dial
        return Branch(choice.method, (choice.attribute,), choice.swap_step, self.steps, dial, way.spell(dial))

    def _trunk(self, seed: int, letter: Letter) -> list[State]:
        """Return the states along one letter before each step and after the last, sampled at most once."""
        key = (seed, letter)
        if key not in self.trunks:
            states = [self.sampler.start([seed])]
            for step in range(self.steps):
                states.append(self._step(states[-1], step, seed, letter))
            self.trunks[key] = states
            if len(self.trunks) > TRUNKS:
                self.trunks.popitem(last=False)
        self.trunks.move_to_end(key)
        return self.trunks[key]

    def _step(self, state: State, step: int, seed: int, letter: Letter) -> State:
        denoise = self._denoise
        denoise.conditioning = self.encode(letter.prompts)
        denoise.letters = [letter.map(letter.prompts.index)]
        return self.sampler.step(state, step, seeds=[seed], letters=[0])

    @property
    def _denoise(self) -> GuidedDenoiser:
        assert isinstance(self.sampler.denoise, GuidedDenoiser)
        return self.sampler.denoise

    def _judged(self, images: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        if self.judge is None:
            return {}, {}
        classes, attributes = self.judge.predict(images)
        names = [*self.judge.attributes, *(self.judge.classes if self.judge.class_outputs else ())]
        table = torch.cat([attributes, classes], dim=1).tolist()
        origin, edited = (dict(zip(names, row, strict=True)) for row in table)
        return origin, edited


class PromptTable:
    """Encodes prompts for one row at a time, each text once."""

    def __init__(self, encoder: Any, device: torch.device) -> None:
        self._encoder, self._device = encoder, device
        self._texts: dict[str, Conditioning] = {}
        self._last: tuple[tuple[Prompt, ...], Conditioning] | None = None

    def __call__(self, prompts: Sequence[Prompt]) -> Conditioning:
        """Return the conditioning of the prompts, a row each, on the device."""
        key = tuple(prompts)
        if self._last is None or self._last[0] != key:
            self._last = (key, conditioning_of(prompts, self._encoded).to(self._device, torch.float32))
        return self._last[1]

    def _encoded(self, texts: Sequence[str]) -> Conditioning:
        for text in texts:
            if text not in self._texts:
                self._texts[text] = self._encoder([text])
        return concatenate([self._texts[text] for text in texts])


def open_run(run_dir: Path) -> Explorer:
    """Open a run's fine-tuned model and judge. Raises UserError that says which stage is missing."""
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
    vae: Any = model.vae()
    encode = PromptTable(model.prompt_encoder(dataset.image_size), device)
    denoise = GuidedDenoiser(
        unet=prepare(model.unet(), device=device, dtype=torch.float32, channels_last=True),
        conditioning=encode([Prompt("")]),
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
            build_solver(cfg.sampler.solver, model.schedule(), n, eta=cfg.sampler.eta),
            SeededNoise(model.latent_shape(dataset.image_size)),
            device,
            remembers=True,
        ),
        encode=encode,
        vae=vae.to(device),
        judge=judge and judge.to(device),
        attributes=tuple(cfg.attribute.names),
        ways=ways_of(cfg),
    )


def _config(run_dir: Path) -> Config:
    """Return the configuration that the run's sweep was made with, in the folder where the run is now."""
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
        f"{run_dir} is no run with a sweep or a fine-tuned model. Give the name of a run in outputs/, or its "
        "folder: `latentpath explore demo`."
    )
