"""Two edits one after the other: one attribute first, then both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latentpath.traversal.words import Letter, Prompts, neutral, target


def order(p: Prompts, edited: range, n: int) -> Sequence[Letter]:
    """Spell the neutral prompt, that of the first attribute in the edited steps, then that of all of them.

    "hair, then ruler" and "ruler, then hair" end with the same prompt, as a caption names attributes in a
    fixed order: if they end with different images, the order of edits matters.
    """
    first = target(replace(p, attributes=p.attributes[:1]))
    letters = [neutral(p)] * edited.start + [first] * len(edited)
    return letters + [target(p)] * (n - edited.stop)
