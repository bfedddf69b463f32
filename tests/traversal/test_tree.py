"""The tree has one node per distinct prefix, and every word can be read back from it."""

from __future__ import annotations

import random

import pytest

from latentpath.traversal.tree import Level, build_trie


def read_back(levels: list[Level], node: int) -> list[int]:
    """The word that ends in `node` of the last level, found by following the parents."""
    word = []
    for level in reversed(levels):
        word.append(level.letters[node])
        node = level.parents[node]
    assert node == 0  # the noise
    return word[::-1]


def test_swaps_leave_the_trunk_where_they_happen():
    """The drawing in the docstring of `build_trie`: e neutral, x target."""
    e, x = 0, 1
    levels, ends = build_trie([[e, e, e, e], [e, e, x, x], [e, x, x, x]])
    assert levels == [
        Level(parents=(0,), letters=(e,)),
        Level(parents=(0, 0), letters=(e, x)),
        Level(parents=(0, 0, 1), letters=(e, x, x)),
        Level(parents=(0, 1, 2), letters=(e, x, x)),
    ]
    assert ends == [0, 1, 2]


def test_a_window_leaves_its_swap_where_it_ends_and_does_not_join_the_trunk_again():
    e, x = 0, 1
    levels, ends = build_trie([[e, e, e], [x, x, x], [x, e, e]])
    assert [level.letters for level in levels] == [(e, x), (e, x, e), (e, x, e)]
    assert [level.parents for level in levels] == [(0, 0), (0, 1, 1), (0, 1, 2)]
    assert ends == [0, 1, 2]


def test_equal_words_end_in_one_node():
    levels, ends = build_trie([[5, 7], [5, 8], [5, 7]])
    assert ends == [0, 1, 0]
    assert [len(level.letters) for level in levels] == [1, 2]


def test_the_first_node_of_every_level_is_the_first_word():
    levels, ends = build_trie([[2, 0, 2], [1, 1, 1], [2, 2, 2]])
    assert read_back(levels, 0) == [2, 0, 2]
    assert ends[0] == 0
    assert all(level.parents[0] == 0 for level in levels)


@pytest.mark.parametrize("seed", range(30))
def test_random_words_have_a_node_a_prefix_and_can_be_read_back(seed):
    chance = random.Random(seed)
    length, letters = chance.randint(1, 9), chance.randint(1, 4)
    words = [[chance.randrange(letters) for _ in range(length)] for _ in range(chance.randint(1, 40))]
    levels, ends = build_trie(words)
    prefixes = {tuple(word[: i + 1]) for word in words for i in range(length)}
    assert sum(len(level.letters) for level in levels) == len(prefixes)
    assert [len(level.letters) for level in levels] == [
        sum(len(prefix) == i + 1 for prefix in prefixes) for i in range(length)
    ]
    assert [read_back(levels, end) for end in ends] == words
