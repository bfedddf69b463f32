"""Samples one edit at a time from a finished run; trunks are kept, so that a move costs the suffix alone."""

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
from latentpath.explore.uploads import Uploads
from latentpath.explore.ways import Way
from latentpath.judge.classifier import Classifier
from latentpath.traversal import late
from latentpath.traversal.directions import find_directions
from latentpath.traversal.plan import Branch, SweepPlan
from latentpath.traversal.words import Letter

if TYPE_CHECKING:
    from latentpath.diffusion.networks import Autoencoder
    from latentpath.explore.opening import PromptTable

TRUNKS = 32  # trunks to keep: at 512 px and 50 steps each takes 3 MB, that of an upload 6 MB


@dataclass(frozen=True)
class Choice:
    """What the user has set: the edit of one seed, or of an image that the user uploaded.

    swap_step is in 0..N: 0 is the strongest edit, N the unedited image. dial is that of the method (`Way`);
    None is its usual value. upload: the word of an upload, which is inverted with the noise of the seed; with
    an empty one the image is sampled from the seed.
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
    """An edited image beside the unedited one: (3, h, w) each in [-1, 1], and the judge's probabilities.

    before, after: name of an attribute or class -> probability. rows: the U-Net rows that this edit cost.
    """

    origin: Tensor
    image: Tensor
    before: dict[str, float]
    after: dict[str, float]
    rows: int


@dataclass(frozen=True)
class Trunk:
    """The path of an unedited image: its states before each step and after the last, and what sampled it."""

    sampler: Sampler
    states: list[State]
    maps: dict[tuple[str, ...], Tensor] = field(default_factory=dict)  # found by masks (`traversal.late`)


@dataclass
class Explorer:
    """Edits of a run's fine-tuned model, with the solver, guidance and captions of its sweep.

    An edit begins with the trunk of the unedited image, and is sampled from the first step with another
    letter. An upload has a trunk as well: DDPM inversion finds the noise from which `inverting`, a solver
    with eta 1, samples it. Calls from several threads wait for each other.
    """

    plan: SweepPlan
    sampler: Sampler
    inverting: Solver
    encode: PromptTable
    vae: Autoencoder
    uploads: Uploads
    judge: Classifier | None
    attributes: tuple[str, ...]
    ways: dict[str, Way]
    adapters: bool = False  # whether the U-Net has sliders
    trunks: OrderedDict[tuple[str, int, Letter], Trunk] = field(default_factory=OrderedDict)
    inverted: dict[Direction, list[StepDirection]] = field(default_factory=dict)  # directions of `inverting`
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
            trunk = self._trunk(choice, unedited)
            self._find_directions(choice, branch, trunk.sampler)
            if branch.late is not None:
                end = self._branch_off(choice, branch, trunk)
            else:
                first = next((step for step, letter in enumerate(word) if letter != unedited), self.steps)
                states = self._walk(trunk.sampler, trunk.states[first], choice.seed, word, first, unedited)
                end = states[-1][0][-1:]
            rows = self._denoise.rows - before
            images = decode(self.vae, torch.cat([trunk.states[-1][0], end]))
            origin, edited = self._judged(images)
        return Edit(images[0], images[1], origin, edited, rows)

    def latents(self, choice: Choice) -> Tensor:
        """Return the latents (c, h, w) that the edit ends with, sampled from the first step on."""
        branch = self._branch(choice)
        origin = self.ways[choice.method].origin(self.plan.prompts_of(choice.cls, branch))
        word = self.plan.word(choice.cls, branch)
        with self.lock, torch.no_grad():
            if branch.late is not None:
                trunk = self._trunk(choice, origin)
                self._find_directions(choice, branch, trunk.sampler)
                return self._branch_off(choice, branch, trunk)[0]
            sampler = self._sampler(choice, origin)
            self._find_directions(choice, branch, sampler)
            start = sampler.start([choice.seed])
            return self._walk(sampler, start, choice.seed, word, origin=origin)[-1][0][-1]

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
        if choice.upload and choice.method == "sdedit":
            raise UserError(
                "sdedit starts from noise of its own, to which that of an upload does not fit: take another "
                "method, or remove the upload."
            )
        way = self.ways[choice.method]
        dial = way.usual if choice.dial is None else choice.dial
        return Branch(choice.method, (choice.attribute,), choice.swap_step, self.steps, dial, way.spell(dial))

    def _trunk(self, choice: Choice, letter: Letter) -> Trunk:
        """Return the path of the unedited image, all of whose steps follow `letter`; sampled at most once."""
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
        """Return the sampler of the run, or one whose noise gives the upload if all steps follow `letter`."""
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
        """Return the plan of one edit and the unedited image."""
        unedited = Branch("neutral", (), self.steps, self.steps)
        return replace(self.plan, classes=(choice.cls,), seeds=(choice.seed,), branches=(unedited, branch))

    def _find_directions(self, choice: Choice, branch: Branch, sampler: Sampler) -> None:
        """Find the directions of h-space that the edit follows, unless `sampler` knows them."""
        plan = self._plan(choice, branch)
        if any(direction not in sampler.directions for direction in plan.directions(choice.cls)):
            self._follow(*plan.letters)
            find_directions(plan, sampler, choice.cls, sampler.start([choice.seed])[0].shape[1:])

    def _branch_off(self, choice: Choice, branch: Branch, trunk: Trunk) -> Tensor:
        """Return the latents (1, c, h, w) of an edit that needs the finished unedited image."""
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
        """Return the state before step `first`, which is given, and those after it and each further step.

        Where a letter borrows attention, the unedited image, whose letter is `origin`, is the row before.
        """
        beside = [origin] if origin is not None and any(letter.borrows for letter in word) else []
        rows = len(beside) + 1
        states = [tuple(torch.cat([part] * rows) for part in state)]
        for step in range(first, self.steps):
            self._follow(*beside, word[step])
            states.append(sampler.step(states[-1], step, seeds=[seed] * rows, letters=[*range(rows)]))
        return states

    def _follow(self, *letters: Letter) -> None:
        """Make `letters` the denoiser's table."""
        prompts = list(dict.fromkeys(prompt for letter in letters for prompt in letter.prompts))
        self._denoise.conditioning, self._denoise.tokens = self.encode(prompts), self.encode.tokens(prompts)
        self._denoise.letters = [letter.map(prompts.index) for letter in letters]
        if self.adapters:  # those of the last letter may still be on
            set_scales(self._denoise.unet, {})

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
