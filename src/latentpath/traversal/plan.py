"""The plan of a sweep: the prompt of each image at each step, and its number of U-Net calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from latentpath.data.captions import CaptionTemplate
from latentpath.errors import UserError
from latentpath.keys import JOIN
from latentpath.traversal.tree import Level, build_trie


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
    """The prompt that lies `strength` of the way from `origin` to `text`: 0 is `origin`, 1 is `text`."""
    if strength in (0, 1):
        return Prompt(text if strength else origin)
    return Prompt(text, strength, origin)


# A method of the user's own: (neutral, target, *, swap_step, num_inference_steps) -> the prompt of each step.
# `neutral` and `target` are captions; `swap_step` is the first step_index that uses the target.
Method = Callable[..., Sequence[Prompt | str]]


@dataclass(frozen=True)
class Branch:
    """One image of a seed; `method` is one of `keys.METHODS`, or the name of `own`, the user's own method.

    `swap_step` is the first step_index that uses the target prompt: 0 = from the start, N = never. `until` is
    the first that uses the source prompt again, N = never. `strength` 1 is the target prompt itself.
    """

    method: str
    attributes: tuple[str, ...]
    swap_step: int
    until: int
    strength: float = 1.0
    own: Method | None = None

    @property
    def attribute(self) -> str:
        """The name in tables: `hair`, or `hair+ruler` for a combination."""
        return JOIN.join(self.attributes)


@dataclass(frozen=True)
class SweepPlan:
    """A sweep over classes x branches x seeds, with prompts from the template of the training captions.

    one_step_late: a swap at s takes effect from step s + 1, as in the paper's released code, whose callback
    swaps at the end of a step. scale: a strength multiplies the target embedding; otherwise it blends from
    the neutral embedding to the target embedding.
    """

    captions: CaptionTemplate
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    num_inference_steps: int
    branches: tuple[Branch, ...]
    one_step_late: bool = False
    scale: bool = False

    def __post_init__(self) -> None:
        n = self.num_inference_steps
        for branch in self.branches:
            if not 0 <= branch.swap_step <= n:
                raise ValueError(f"swap step {branch.swap_step} lies outside 0..{n}")
            if not branch.swap_step <= branch.until <= n:
                raise ValueError(f"until {branch.until} lies outside {branch.swap_step}..{n}")

    def source(self, cls: str, branch: Branch) -> Prompt:
        """Return the prompt that a branch starts with."""
        present = branch.attributes if branch.method in ("present", "removal") else ()
        return Prompt(self.captions.caption(cls, present))

    def target(self, cls: str, branch: Branch) -> Prompt:
        """Return the prompt that a branch swaps in."""
        neutral = self.captions.caption(cls)
        if branch.method in ("neutral", "removal"):
            return Prompt(neutral)
        text = self.captions.caption(cls, branch.attributes)
        return Prompt(text, branch.strength) if self.scale else blend(neutral, text, branch.strength)

    def steps(self, cls: str, branch: Branch) -> list[Prompt]:
        """Return the prompt of each of the N steps."""
        source, target, n = self.source(cls, branch), self.target(cls, branch), self.num_inference_steps
        first, last = (min(s + self.one_step_late, n) for s in (branch.swap_step, branch.until))
        if branch.own is not None:
            given = branch.own(source.text, target.text, swap_step=first, num_inference_steps=n)
            return _prompts(branch.method, given, n)
        return [target if first <= step < last else source for step in range(n)]

    def plain(self, swap_steps: Iterable[int], *, seeds: int | None = None) -> SweepPlan:
        """Return the same sweep with only the neutral image and the plain swaps at `swap_steps`.

        seeds: keep only this many first seeds; None keeps all.
        """
        n = self.num_inference_steps
        attributes = list(dict.fromkeys(b.attributes for b in self.branches if b.method == "swap"))
        branches = [Branch("neutral", (), n, n)]
        branches += [Branch("swap", a, s, n) for s in sorted(swap_steps) for a in attributes]
        return replace(self, branches=tuple(branches), seeds=self.seeds[:seeds])

    @cached_property
    def prompts(self) -> list[Prompt]:
        """All distinct prompts in a fixed order; the tree refers to them by index."""
        return list(
            dict.fromkeys(p for cls in self.classes for b in self.branches for p in self.steps(cls, b))
        )

    def tree(self, cls: str) -> tuple[list[Level], list[int]]:
        """Return the levels of the prefix tree, and the last node of each branch (see `tree.build_trie`)."""
        place = {prompt: i for i, prompt in enumerate(self.prompts)}
        return build_trie([[place[p] for p in self.steps(cls, branch)] for branch in self.branches])

    @cached_property
    def nodes(self) -> list[int]:
        """The number of nodes of the tree at each step: the rows per seed that the U-Net sees."""
        return [len(level.prompts) for level in self.tree(self.classes[0])[0]]

    @property
    def calls_per_seed(self) -> int:
        """U-Net calls per seed and class: the number of nodes of the tree.

        For K swap steps s_k of A attributes that is N + A sum_k (N - s_k), instead of (1 + A K) N.
        """
        return sum(self.nodes)

    @property
    def plain_calls_per_seed(self) -> int:
        return len(self.branches) * self.num_inference_steps

    @property
    def samples(self) -> int:
        """The number of seeds over all classes."""
        return len(self.classes) * len(self.seeds)

    @property
    def unet_calls(self) -> int:
        return self.samples * self.calls_per_seed

    @property
    def images(self) -> int:
        return self.samples * len(self.branches)

    def describe(self) -> dict[str, Any]:
        """Return the content of plan.json, which later stages read."""
        swaps = [b for b in self.branches if b.method == "swap"]
        first = {b.attribute: b for b in self.branches if b.method in ("swap", "combination")}
        return {
            "classes": list(self.classes),
            "attributes": list(dict.fromkeys(b.attribute for b in swaps)),
            "methods": list(dict.fromkeys(b.method for b in self.branches)),
            "swap_steps": sorted({b.swap_step for b in swaps}),
            "num_inference_steps": self.num_inference_steps,
            "seeds": list(self.seeds),
            "one_step_late": self.one_step_late,
            "unet_calls": self.unet_calls,
            "images": self.images,
            "calls_per_seed": self.calls_per_seed,
            "plain_calls_per_seed": self.plain_calls_per_seed,
            "neutral_prompts": {c: self.source(c, self.branches[0]).text for c in self.classes},
            "target_prompts": {
                f"{c}/{name}": self.target(c, branch).text
                for c in self.classes
                for name, branch in first.items()
            },
        }


def plan_sweep(
    captions: CaptionTemplate,
    *,
    classes: Sequence[str],
    attributes: Sequence[str],
    swap_steps: Sequence[int],
    num_inference_steps: int,
    seeds: Iterable[int],
    combinations: Sequence[Sequence[str]] = (),
    removal: bool = False,
    strengths: Sequence[float] = (),
    windows: Sequence[tuple[int, int]] = (),
    methods: Mapping[str, Method] | None = None,
    one_step_late: bool = False,
    scale: bool = False,
) -> SweepPlan:
    """Plan the neutral image, swaps of every attribute and combination at every swap step, and other edits.

    removal: also edit from an image with the attribute to the neutral prompt. strengths: also use targets at
    strengths other than 1. windows: pairs (s, r), also use the target in steps s..r-1 only. methods: also
    edit by the user's own methods, name -> function, every attribute at every swap step.
    """
    n = num_inference_steps
    steps = sorted(swap_steps)
    single = [(a,) for a in attributes]
    branches = [Branch("neutral", (), n, n)]
    branches += [Branch("swap", a, s, n) for s in steps for a in single]
    branches += [Branch("combination", tuple(c), s, n) for s in steps for c in combinations]
    branches += [Branch("strength", a, s, n, x) for x in strengths if x != 1 for s in steps for a in single]
    branches += [Branch("window", a, s, r) for s, r in windows for a in single]
    if removal:
        branches += [Branch("present", a, n, n) for a in single]
        branches += [Branch("removal", a, s, n) for s in steps for a in single]
    for name, own in (methods or {}).items():
        branches += [Branch(name, a, s, n, own=own) for s in steps for a in single]
    return SweepPlan(
        captions=captions,
        classes=tuple(classes),
        seeds=tuple(seeds),
        num_inference_steps=n,
        branches=tuple(branches),
        one_step_late=one_step_late,
        scale=scale,
    )


def _prompts(method: str, given: Sequence[Prompt | str], n: int) -> list[Prompt]:
    """What the user's own method gave, as prompts; UserError where it is not one for each of the n steps."""
    prompts = [Prompt(prompt) if isinstance(prompt, str) else prompt for prompt in given]
    if strange := [prompt for prompt in prompts if not isinstance(prompt, Prompt)]:
        raise UserError(
            f"the method {method!r} gave {strange[0]!r}, expected a text or a Prompt for each step"
        )
    if len(prompts) != n:
        raise UserError(
            f"the method {method!r} gave {len(prompts)} prompts, expected one for each of {n} steps"
        )
    return prompts
