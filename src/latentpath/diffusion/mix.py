"""What a step of the reverse diffusion follows: a mix of a U-Net's outputs over prompts, or a gated one."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

P = TypeVar("P", bound=Hashable)
Q = TypeVar("Q", bound=Hashable)
Adapters = tuple[tuple[str, float], ...]  # names and scales of low-rank adapters that are on


@dataclass(frozen=True)
class Borrows(Generic[P]):
    """The row of `target` uses attention maps of the neutral image's row of `source` at the same step.

    cross: those to the tokens that both prompts have. own: those of pixels to pixels (self-attention).
    """

    target: P
    source: P
    cross: bool
    own: bool


@dataclass(frozen=True)
class Direction:
    """A direction in the U-Net's h-space, which leads from `source` to `target`, two prompts of a plan.

    It is a mean over `seeds` images that no sweep uses, see `traversal.directions`.
    """

    source: Any  # Any: whatever identifies a prompt in the plan; `map` leaves it as it is
    target: Any  # Any: likewise
    seeds: int

    @property
    def ends(self) -> tuple[Any, Any]:  # Any: likewise
        return self.source, self.target


class StepDirection(NamedTuple):
    """A direction at one step: `h` (c', h', w'), and the `asymmetry` of the solver there (`Solver`)."""

    h: Tensor
    asymmetry: float


@dataclass(frozen=True)
class Shifts:
    """The row of the last prompt has its mid-block shifted by `scale` times `direction`."""

    direction: Direction
    scale: float


class Guidance(Generic[P]):
    """How a step combines the outputs of the U-Net into one eps: `Mix`, `Gated`, `Adapted`, and others.

    remembers: whether it has a memory of earlier steps.
    adapters: the low-rank adapters of the U-Net that are on.
    looks: the prompts whose cross-attention maps it is given (`seeing`).
    borrows: the attention maps that it takes from the neutral image.
    shifts: how it shifts the mid-block of the U-Net.
    """

    remembers: bool = False
    adapters: Adapters = ()
    looks: tuple[P, ...] = ()
    borrows: Borrows[P] | None = None
    shifts: Shifts | None = None

    def __len__(self) -> int:
        """Return the number of prompts, each of which costs a row of the U-Net."""
        return len(self.prompts)

    @property
    def inside(self) -> bool:
        """Whether it changes or reads activations inside the U-Net, which must then not be compiled."""
        return bool(self.adapters or self.looks or self.borrows or self.shifts)

    @property
    def prompts(self) -> tuple[P, ...]:
        """The prompts, each once, in the order of the outputs that a call takes."""
        raise NotImplementedError

    @property
    def strongest(self) -> int:
        """The index of the prompt to whose contrast `guidance.rescaled` scales the result."""
        raise NotImplementedError

    def map(self, of: Callable[[P], Q]) -> Guidance[Q]:
        """Return the same guidance with each prompt `p` replaced by `of(p)`."""
        raise NotImplementedError

    def at(self, step_index: int, num_inference_steps: int) -> Guidance[P]:
        """Return the guidance at step `step_index` of the N steps; most kinds are the same at all steps."""
        return self

    def seeing(self, maps: Tensor) -> Guidance[P]:
        """Return the same guidance with the attention maps that it asked for by `looks`.

        maps: (looks, n, h', w'), see `attention.Attention.map_of`.
        """
        return self

    def stepping(self, asymmetry: float) -> Guidance[P]:
        """Return the same guidance for a step with this `Solver.asymmetry`; only those that shift use it."""
        return self

    def __call__(self, outputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return eps (n, c, h, w) of the outputs (prompts, n, c, h, w), and the next memory (n, c, h, w)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Mix(Guidance[P]):
    """eps = sum_k w_k eps(z, prompt_k), with weights that sum to 1.

    `terms` are pairs (prompt, weight): every prompt once, none with weight 0. Each term costs one row of the
    U-Net. A prompt is whatever identifies it: its text in a plan, its row in the table of a denoiser.
    """

    terms: tuple[tuple[P, float], ...]

    @classmethod
    def of(cls, *terms: tuple[P, float]) -> Mix[P]:
        """Add up the weights of equal prompts and leave out those with weight 0.

        Mixes of the same outputs are then equal, and the tree computes them once. Raises ValueError if the
        weights do not sum to 1.
        """
        weights: dict[P, float] = {}
        for prompt, weight in terms:
            weights[prompt] = weights.get(prompt, 0.0) + weight
        if not math.isclose(sum(weights.values()), 1, abs_tol=1e-6):
            raise ValueError(f"the weights of a mix must sum to 1, got {weights}")
        left = {prompt: weight for prompt, weight in weights.items() if weight}
        return cls(tuple(left.items()) if len(left) > 1 else tuple((prompt, 1.0) for prompt in left))

    @property
    def prompts(self) -> tuple[P, ...]:
        return tuple(prompt for prompt, _ in self.terms)

    @property
    def strongest(self) -> int:
        """The index of the prompt with the largest weight: with guidance, the one that is not negative."""
        return max(range(len(self)), key=lambda k: self.terms[k][1])

    def map(self, of: Callable[[P], Q]) -> Mix[Q]:
        """Return the same mix with each prompt `p` replaced by `of(p)`."""
        return Mix(tuple((of(prompt), weight) for prompt, weight in self.terms))

    def __call__(self, outputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Mix the outputs (terms, n, c, h, w) of n latents; return eps (n, c, h, w) and the memory as it was.

        Computed as e_0 + sum_k w_k (e_k - e_0), which is the mix, because its weights sum to 1.
        """
        first, *others = outputs
        mixed = first
        for (_, weight), output in zip(self.terms[1:], others, strict=True):
            mixed = mixed + weight * (output - first)
        return mixed, memory


# (direction, memory) -> (what is added to eps, memory), all (n, c, h, w) in independent rows
Gate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Beside(Guidance[P]):
    """Guidance that adds a term to the eps of the mix `base`, whose prompts come first."""

    base: Mix[P]

    @property
    def strongest(self) -> int:
        return self.base.strongest

    def split(self, outputs: Tensor) -> tuple[Tensor, dict[P, Tensor]]:
        """Return eps (n, c, h, w) of `base`, and the output of each prompt, from (prompts, n, c, h, w)."""
        of = dict(zip(self.prompts, outputs, strict=True))
        base, _ = self.base(torch.stack([of[prompt] for prompt in self.base.prompts]))
        return base, of


class Through(Guidance[P]):
    """Guidance that mixes the outputs as `mix` does, but changes how the U-Net computes them."""

    mix: Mix[P]

    @property
    def prompts(self) -> tuple[P, ...]:
        return self.mix.prompts

    @property
    def strongest(self) -> int:
        return self.mix.strongest

    def __call__(self, outputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return self.mix(outputs, memory)


@dataclass(frozen=True)
class Gated(Beside[P]):
    """eps = base + gate(eps(z, toward) - eps(z, away)), where the gate may remember earlier steps of a row.

    The memory of a row is zero until its first gated step. `gate` has to be hashable, such as a frozen
    dataclass. Costs a row of the U-Net for each distinct prompt.
    """

    base: Mix[P]
    toward: P
    away: P
    gate: Gate
    remembers = True

    @property
    def prompts(self) -> tuple[P, ...]:
        return tuple(dict.fromkeys((*self.base.prompts, self.away, self.toward)))

    def map(self, of: Callable[[P], Q]) -> Gated[Q]:
        return Gated(self.base.map(of), of(self.toward), of(self.away), self.gate)

    def __call__(self, outputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return eps (n, c, h, w) of the outputs (prompts, n, c, h, w), and the next memory (n, c, h, w)."""
        base, of = self.split(outputs)
        kept = torch.zeros_like(base) if memory is None else memory
        added, kept = self.gate(of[self.toward] - of[self.away], kept)
        return base + added, kept


@dataclass(frozen=True)
class Adapted(Through[P]):
    """A mix of the outputs of the U-Net with `adapters`, pairs (name, scale); see `adapters.set_scales`."""

    mix: Mix[P]
    adapters: Adapters = ()

    def map(self, of: Callable[[P], Q]) -> Adapted[Q]:
        return Adapted(self.mix.map(of), self.adapters)


def guided(prompt: P, *, negative: P, scale: float) -> Mix[P]:
    """Classifier-free guidance: eps_u + g (eps_c - eps_u)   (Ho & Salimans 2022).

    `scale` g is that of diffusers: 1 is the prompt alone, without guidance.
    """
    return Mix.of((negative, 1 - scale), (prompt, scale))
