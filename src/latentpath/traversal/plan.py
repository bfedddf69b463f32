"""The plan of a sweep: which prompt is swapped in for which sample at which step, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NEUTRAL = ""  # the attribute of a neutral image


@dataclass(frozen=True)
class SweepPlan:
    """Classes x attributes x swap steps x seeds.

    `swap_steps` is the first step_index that uses the target prompt: 0 = from the start, N = the neutral
    image. With `one_step_late` a swap "at s" acts from s + 1, as in the paper's released code, whose pipeline
    callback swaps at the end of a step.
    """

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    swap_steps: tuple[int, ...]
    num_inference_steps: int
    seeds: tuple[int, ...]
    neutral_prompts: Mapping[str, str]  # class -> prompt
    target_prompts: Mapping[tuple[str, str], str]  # (class, attribute) -> prompt
    one_step_late: bool = False

    def __post_init__(self) -> None:
        for s in self.swap_steps:
            if not 0 <= s <= self.num_inference_steps:
                raise ValueError(f"swap step {s} lies outside 0..{self.num_inference_steps}")

    def branch_step(self, swap_step: int) -> int:
        """The step_index before which the branch leaves the trunk."""
        return min(swap_step + self.one_step_late, self.num_inference_steps)

    @property
    def calls_per_seed(self) -> int:
        """U-Net calls of a seed of one class: N + A sum_k (N - s_k), against (1 + A K) N the plain way."""
        n = self.num_inference_steps
        return n + len(self.attributes) * sum(n - self.branch_step(s) for s in self.swap_steps)

    @property
    def plain_calls_per_seed(self) -> int:
        return (1 + len(self.attributes) * len(self.swap_steps)) * self.num_inference_steps

    @property
    def unet_calls(self) -> int:
        return len(self.classes) * len(self.seeds) * self.calls_per_seed

    @property
    def images(self) -> int:
        return len(self.classes) * len(self.seeds) * (1 + len(self.attributes) * len(self.swap_steps))

    def prompts(self) -> list[str]:
        """Every prompt once, in a fixed order."""
        return list(dict.fromkeys([*self.neutral_prompts.values(), *self.target_prompts.values()]))

    def prompt(self, cls: str, attribute: str) -> str:
        return self.neutral_prompts[cls] if attribute == NEUTRAL else self.target_prompts[cls, attribute]


def plan_sweep(
    captions,
    *,
    classes: Sequence[str],
    attributes: Sequence[str],
    swap_steps: Sequence[int],
    num_inference_steps: int,
    seeds: Sequence[int],
    one_step_late: bool = False,
) -> SweepPlan:
    """A plan whose prompts are the captions of training (`captions`: a data.captions.CaptionTemplate)."""
    return SweepPlan(
        classes=tuple(classes),
        attributes=tuple(attributes),
        swap_steps=tuple(sorted(swap_steps)),
        num_inference_steps=num_inference_steps,
        seeds=tuple(seeds),
        neutral_prompts={c: captions.caption(c) for c in classes},
        target_prompts={(c, a): captions.caption(c, [a]) for c in classes for a in attributes},
        one_step_late=one_step_late,
    )
