"""The words of the tree: an image is determined by the mix of prompts that each of its steps uses.

prompt    a text, or a blend of two
letter    a mix of prompts, which a step of the reverse diffusion follows (`diffusion.mix`)
word      the letters of an image, one for each step
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.mix import Guidance, Mix, guided

if TYPE_CHECKING:
    from torch import Tensor

    from latentpath.diffusion.solvers import State
    from latentpath.traversal.late import Trunk


@dataclass(frozen=True)
class Prompt:
    """A prompt for the U-Net: the embedding of `text`, or a blend toward it.

    E = E(text)                                                   strength 1
    E = E(origin) + strength (E(text) - E(origin))                interpolated (beyond 1: extrapolated)
    E = strength E(text)                                          scaled: no origin
    """

    text: str
    strength: float = 1.0
    origin: str | None = None


def blend(origin: str, text: str, strength: float) -> Prompt:
    """Return the prompt that lies `strength` of the way from `origin` (0) to `text` (1)."""
    if strength in (0, 1):
        return Prompt(text if strength else origin)
    return Prompt(text, strength, origin)


@dataclass(frozen=True)
class Prompts:
    """The prompts that a method can mix to edit `attributes` in images of class `cls`."""

    captions: CaptionTemplate
    cls: str
    attributes: tuple[str, ...]
    negative_prompt: str
    guidance_scale: float

    @property
    def negative(self) -> Prompt:
        """The negative prompt, usually the empty text: u in formulas."""
        return Prompt(self.negative_prompt)

    @property
    def neutral(self) -> Prompt:
        """The caption of an image without any attribute: n in formulas."""
        return Prompt(self.captions.caption(self.cls))

    @property
    def target(self) -> Prompt:
        """The caption that names the attributes of the edit: p in formulas."""
        return Prompt(self.captions.caption(self.cls, self.attributes))

    @property
    def attribute(self) -> Prompt:
        """The words of the attributes alone, such as `hair`: a in formulas."""
        names = self.captions.attribute_names
        return Prompt(", ".join(words for name, words in names.items() if name in self.attributes))

    @property
    def others(self) -> list[Prompt]:
        """The captions that name one attribute each, of those that are not edited: p_k in formulas."""
        names = [name for name in self.captions.attribute_names if name not in self.attributes]
        return [Prompt(self.captions.caption(self.cls, (name,))) for name in names]

    def guided(self, prompt: Prompt) -> Mix[Prompt]:
        """The letter of one prompt with the guidance of the sweep: u + g (prompt - u)."""
        return guided(prompt, negative=self.negative, scale=self.guidance_scale)


Letter = Guidance[Prompt]
Rule = Callable[[Prompts], Letter]  # how the letter of a step is made of the prompts

# What a branch spells: (prompts, the steps that are edited, N) -> the letter of each of the N steps
Spell = Callable[[Prompts, range, int], Sequence[Letter]]


def neutral(p: Prompts) -> Letter:
    """The neutral prompt: u + g (n - u)."""
    return p.guided(p.neutral)


def target(p: Prompts) -> Letter:
    """The target prompt: u + g (p - u)."""
    return p.guided(p.target)


class Late(Protocol):
    """An edit that needs the finished neutral image before it branches off at its swap step."""

    def asks(self, p: Prompts) -> tuple[Letter, ...]:
        """Return the letters that it denoises with before the edit starts, besides that of the edit."""
        ...

    def calls(self, p: Prompts) -> int:
        """Return how many latents per seed it denoises with these letters, once per attribute."""
        ...

    def start(self, trunk: Trunk, step: int) -> State:
        """Return the state (seeds, ...) before the first edited step."""
        ...

    def region(self, trunk: Trunk, p: Prompts) -> Tensor | None:
        """Return where the image may change, as booleans (seeds, 1, h, w); None: everywhere."""
        ...


@dataclass(frozen=True)
class Swap:
    """Gives the edited steps the letter of `inside`, and all other steps that of `outside`.

    late: what the edit needs of the finished neutral image, if anything.
    """

    inside: Rule
    outside: Rule = neutral
    late: Late | None = None

    def __call__(self, p: Prompts, edited: range, n: int) -> Sequence[Letter]:
        inside, outside = self.inside(p), self.outside(p)
        return [inside.at(step, n) if step in edited else outside for step in range(n)]
