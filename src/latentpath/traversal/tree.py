"""The tree of a sweep: images that use the same prompts up to a step share everything up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """The nodes that live during one sampler step: what each is copied from, and the prompt it uses.

    `parents[k]` is a node of the level before (at step 0: 0, the noise).
    """

    parents: tuple[int, ...]
    prompts: tuple[int, ...]


def build_trie(words: Sequence[Sequence[int]]) -> tuple[list[Level], list[int]]:
    """The prefix tree of `words`, and for each word the node of the last level that it ends in.

    A word is the prompt of every step, all of one length N. Two images are the same until their words differ,
    so there is a node for each prefix that differs: the cost of a sweep in U-Net calls a seed is the number
    of nodes. Words that are equal end in one node.

        eeee    step 0    1    2    3
        eexx         e -- e -- e -- e   neutral
        exxx              |    +- x -- x  ...
                          +- x -- x -- x
    """
    levels: list[Level] = []
    at = [0] * len(words)
    for step in range(len(words[0])):
        nodes: dict[tuple[int, int], int] = {}
        at = [nodes.setdefault((at[w], word[step]), len(nodes)) for w, word in enumerate(words)]
        levels.append(Level(tuple(parent for parent, _ in nodes), tuple(prompt for _, prompt in nodes)))
    return levels, at
