"""The prefix tree of a sweep: images with the same letters up to a step share all U-Net calls up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """The nodes of one sampler step: the parent of each node, and the letter (mix of prompts) it uses.

    `parents[k]` is a node of the previous level (at step 0 it is 0, the noise).
    """

    parents: tuple[int, ...]
    letters: tuple[int, ...]


def build_trie(words: Sequence[Sequence[int]]) -> tuple[list[Level], list[int]]:
    """Build the prefix tree (trie) of `words`; also return, for each word, its node on the last level.

    A word is the sequence of an image's letters, one per step; all words have length N. Two images are the
    same until their words differ, so there is one node per distinct prefix, and a sweep costs as many U-Net
    calls per seed as the tree has nodes. Equal words share a node.

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
        levels.append(Level(tuple(parent for parent, _ in nodes), tuple(letter for _, letter in nodes)))
    return levels, at
