"""Samples one edit at a time; the path of the unedited image is kept, so an edit costs only its own steps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentpath.diffusion.adapters import set_scales
from latentpath.diffusion.autoencoder import decode
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.inversion import ddpm_inversion
from latentpath.diffusion.mix import Direction, StepDirection
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import Solver, State
from latentpath.errors import UserError, near
from latentpath.explore.methods import Method
from latentpath.explore.uploads import Uploads
from latentpath.judge.classifier import Classifier
from latentpath.traversal import late
from latentpath.traversal.directions import find_directions
from latentpath.traversal.plan import Branch, SweepPlan
from latentpath.traversal.words import Letter

if TYPE_CHECKING:
    from latentpath.diffusion.networks import Autoencoder
    from latentpath.explore.opening import PromptTable

TRUNKS = 32  # how many are kept: at 512 px and 50 steps one takes 3 MB, that of an upload 6 MB


@dataclass(frozen=True)
class Choice:
    """The edit that a user asks for: of the image of a seed, or of an uploaded image.

    swap_step: 0..N; 0 is the strongest edit, N the unedited image.
    dial: the dial of the method (`methods.Method`); None is its default.
    upload: the token of an uploaded image, which is inverted with the noise of the seed; empty: the image is
    sampled from the seed.
    """

    cls: str
    attribute: str
    method: str = "swap"
    seed: int = 0
    swap_step: int = 0
    dial: float | None = None
    upload: str = ""


@dataclass(frozen=True)
class Edit:
    """An edited image beside the unedited one, with what the judge sees in both.

    origin, image: the unedited and the edited image, (3, h, w) in [-1, 1].
    before, after: their probabilities, by the name of the attribute or class; empty without a judge.
    rows: how many latents the U-Net denoised for this edit.
    """

    origin: Tensor
    image: Tensor
    before: dict[str, float]
    after: dict[str, float]
    rows: int


@dataclass(frozen=True)
class Trunk:
    """The path of an unedited image: its N + 1 states, and the sampler that they come from.

    maps: what masks have found on this path, by attributes (`traversal.late`).
    """

    sampler: Sampler
    states: list[State]
    maps: dict[tuple[str, ...], Tensor] = field(default_factory=dict)


@dataclass
class Explorer:
    """Edits images with the fine-tuned model of a run, with the solver, guidance and captions of its sweep.

    An edit continues the path of the unedited image, its trunk, from the first step that differs. An upload
    has a trunk too: DDPM inversion finds the noise from which `inverting`, a solver with eta 1, samples it.
    Calls from several threads wait for each other.

    adapters: whether the U-Net has those of concept sliders.
    inverted: the directions of h-space for uploads, found so far; `sampler.directions` has the others.
    """

    plan: SweepPlan
    sampler: Sampler
    inverting: Solver
    encode: PromptTable
    vae: Autoencoder
    uploads: Uploads
    judge: Classifier | None
    attributes: tuple[str, ...]
    methods: dict[str, Method]
    adapters: bool = False
    trunks: OrderedDict[tuple[str, int, Letter], Trunk] = field(default_factory=OrderedDict)
    inverted: dict[Direction, list[StepDirection]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def steps(self) -> int:
        """The number of steps of the reverse diffusion, N."""
        return self.plan.num_inference_steps

    def edit(self, choice: Choice) -> Edit:
        """Sample, decode and judge an edit and the unedited image; see `sample` for errors."""
        origin, edited, rows = self.sample(choice)
        with self.lock, torch.no_grad():
            images = decode(self.vae, torch.cat([origin, edited]))
            before, after = self._judge(images)
        return Edit(images[0], images[1], before, after, rows)

    def sample(self, choice: Choice) -> tuple[Tensor, Tensor, int]:
        """Return latents (1, c, h, w) of the unedited and of the edited image, and the U-Net rows they cost.

        Raises UserError for a class, attribute, method or swap step that the run does not have, and for an
        upload that is no longer kept.
        """
        branch = self._branch(choice)
        word = self.plan.word(choice.cls, branch)
        unedited = self.methods[choice.method].origin(self.plan.prompts_of(choice.cls, branch))
        with self.lock, torch.no_grad():
            before = self._denoise.rows
            trunk = self._trunk(choice, unedited)
            self._find_directions(choice, branch, trunk.sampler)
            if branch.late is not None:
                edited = self._branch_off(choice, branch, trunk)
            else:
                first = next((step for step, letter in enumerate(word) if letter != unedited), self.steps)
                states = self._walk(trunk.sampler, trunk.states[first], choice.seed, word, first, unedited)
                edited = states[-1][0][-1:]
            return trunk.states[-1][0], edited, self._denoise.rows - before

    def _branch(self, choice: Choice) -> Branch:
        """Return the branch of a plan that stands for the edit."""
        for what, value, known in (
            ("class", choice.cls, self.plan.classes),
            ("attribute", choice.attribute, self.attributes),
            ("method", choice.method, self.methods),
        ):
            if value not in known:
                raise UserError(f"this run has no {what} {value!r}.{near(value, known)}")
        if not 0 <= choice.swap_step <= self.steps:
            raise UserError(f"the swap step is {choice.swap_step}, expected 0..{self.steps}")
        if choice.upload and choice.method == "sdedit":
            raise UserError(
                "sdedit adds fresh noise to the finished image, so it cannot use the noise that an upload is "
                "inverted to. Choose another method, or remove the upload"
            )
        method = self.methods[choice.method]
        dial = method.default if choice.dial is None else choice.dial
        spell = method.spell(dial)
        return Branch(choice.method, (choice.attribute,), choice.swap_step, self.steps, dial, spell)

    def _trunk(self, choice: Choice, letter: Letter) -> Trunk:
        """Return the path of the image all of whose steps follow `letter`; it is sampled once and kept."""
        key = (choice.upload, choice.seed, letter)
        if key not in self.trunks:
            sampler = self._sampler(choice, letter)
            word = [letter] * self.steps
            states = self._walk(sampler, sampler.start([choice.seed]), choice.seed, word)
            self.trunks[key] = Trunk(sampler, states)
            if len(self.trunks) > TRUNKS:
                self.trunks.popitem(last=False)
        self.trunks.move_to_end(key)
        return self.trunks[key]

    def _sampler(self, choice: Choice, letter: Letter) -> Sampler:
        """Return the sampler of the run; for an upload, one that reproduces it when it follows `letter`."""
        if not choice.upload:
            return self.sampler
        self._follow(letter)
        noise = ddpm_inversion(
            self.uploads[choice.upload][None].to(self.sampler.device),
            seeds=[choice.seed],
            denoise=lambda latents, timestep: self._denoise(latents, timestep, [0]),
            solver=self.inverting,
        )
        return replace(self.sampler, solver=self.inverting, noise=noise, directions=self.inverted)

    def _plan(self, choice: Choice, branch: Branch) -> SweepPlan:
        """Return the plan of the unedited image and one edit."""
        unedited = Branch("neutral", (), self.steps, self.steps)
        return replace(self.plan, classes=(choice.cls,), seeds=(choice.seed,), branches=(unedited, branch))

    def _find_directions(self, choice: Choice, branch: Branch, sampler: Sampler) -> None:
        """Find the directions of h-space that the edit follows, unless `sampler` has them."""
        plan = self._plan(choice, branch)
        if any(direction not in sampler.directions for direction in plan.directions(choice.cls)):
            self._follow(*plan.letters)
            find_directions(plan, sampler, choice.cls, sampler.start([choice.seed])[0].shape[1:])

    def _branch_off(self, choice: Choice, branch: Branch, trunk: Trunk) -> Tensor:
        """Return the latents (1, c, h, w) of an edit that needs the finished unedited image first."""
        plan = self._plan(choice, branch)
        self._follow(*plan.letters)
        path = late.Trunk(plan, trunk.sampler, choice.cls, plan.seeds, trunk.states, trunk.maps)
        return late.branch_off(path)

    def _walk(
        self,
        sampler: Sampler,
        state: State,
        seed: int,
        word: Sequence[Letter],
        first: int = 0,
        origin: Letter | None = None,
    ) -> list[State]:
        """Return the given state before step `first`, and the states after it and after each further step.

        If a letter borrows attention maps, the unedited image, which follows `origin`, is walked beside as
        the first row.
        """
        beside = [origin] if origin is not None and any(letter.borrows for letter in word) else []
        rows = len(beside) + 1
        states = [tuple(torch.cat([part] * rows) for part in state)]
        for step in range(first, self.steps):
            self._follow(*beside, word[step])
            states.append(sampler.step(states[-1], step, seeds=[seed] * rows, letters=[*range(rows)]))
        return states

    def _follow(self, *letters: Letter) -> None:
        """Make `letters` the table of letters of the denoiser."""
        prompts = list(dict.fromkeys(prompt for letter in letters for prompt in letter.prompts))
        self._denoise.conditioning, self._denoise.tokens = self.encode(prompts), self.encode.tokens(prompts)
        self._denoise.letters = [letter.map(prompts.index) for letter in letters]
        if self.adapters:  # those of the last edit may still be on
            set_scales(self._denoise.unet, {})

    @property
    def _denoise(self) -> GuidedDenoiser:
        assert isinstance(self.sampler.denoise, GuidedDenoiser)
        return self.sampler.denoise

    def _judge(self, images: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        """Return the probabilities, by name, of the unedited and the edited image; empty without a judge."""
        if self.judge is None:
            return {}, {}
        classes, attributes = self.judge.predict(images)
        names = [*self.judge.attributes, *(self.judge.classes if self.judge.class_outputs else ())]
        table = torch.cat([attributes, classes], dim=1).tolist()
        before, after = (dict(zip(names, row, strict=True)) for row in table)
        return before, after
