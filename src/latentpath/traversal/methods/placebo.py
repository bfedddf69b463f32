"""The placebo: the neutral caption in other words, which asks for nothing new."""

from __future__ import annotations

from dataclasses import dataclass

from latentpath.traversal.words import Letter, Prompt, Prompts


@dataclass(frozen=True)
class Placebo:
    """From step s on: u + g (n' - u), n' = the neutral caption n in other words. U-Net rows per node: 2.

    Whatever a swap to it changes is the effect of swapping as such, and the floor of every method's leak.
    `caption` is a template with the fields {neutral}, the neutral caption, and {cls}, the words of the class.
    """

    caption: str = "this is {neutral}"

    def __call__(self, p: Prompts) -> Letter:
        words = {"neutral": p.neutral.text, "cls": p.captions.class_names[p.cls]}
        return p.guided(Prompt(self.caption.format(**words)))
