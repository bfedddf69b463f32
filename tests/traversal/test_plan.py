"""A plan gives the prompt of every step of every image, and counts the U-Net calls without duplicates."""

from __future__ import annotations

import random

import pytest

from latentpath.data.captions import CaptionTemplate
from latentpath.errors import UserError
from latentpath.keys import METHODS
from latentpath.traversal.plan import Branch, SweepPlan, plan_sweep
from latentpath.traversal.planning import describe
from latentpath.traversal.words import Prompt

N, SWAPS = 6, [4, 0, 2]
CAPTIONS = CaptionTemplate(
    "{cls} with {attributes}",
    "{cls}",
    {"MEL": "melanoma", "NV": "nevus"},
    {"hair": "hair", "ink": "ink", "ruler": "ruler"},
)
ALL = {"combinations": [["ink", "hair"]], "removal": True, "strengths": [0.5, 1, 2], "windows": [(2, 5)]}
ALL |= {"orders": [("hair", "ink")]}


def plan(**changes) -> SweepPlan:
    asked = {
        "classes": ["MEL", "NV"],
        "attributes": ["hair", "ink"],
        "swap_steps": SWAPS,
        "num_inference_steps": N,
        "seeds": range(3),
    }
    return plan_sweep(CAPTIONS, **(asked | changes))


def word(asked: SweepPlan, branch: Branch) -> str:
    """The texts of a branch's steps, shortened: n neutral, h hair, i ink, b both; a blend in upper case."""
    letters = {"": "n", " with hair": "h", " with ink": "i", " with hair, ink": "b"}
    planned = asked.branches[asked.branches.index(branch)]
    prompts = [letter.prompts[-1] for letter in asked.word("MEL", planned)]
    steps = [(p, letters[p.text.removeprefix("melanoma")]) for p in prompts]
    return "".join(letter.upper() if p.strength != 1 else letter for p, letter in steps)


@pytest.mark.parametrize(
    "branch, expected",
    [
        (Branch("neutral", (), N, N), "nnnnnn"),
        (Branch("swap", ("hair",), 0, N), "hhhhhh"),
        (Branch("swap", ("ink",), 2, N), "nniiii"),
        (Branch("combination", ("ink", "hair"), 4, N), "nnnnbb"),
        (Branch("strength", ("hair",), 2, N, 0.5), "nnHHHH"),
        (Branch("strength", ("hair",), 2, N, 2.0), "nnHHHH"),
        (Branch("window", ("hair",), 2, 5), "nnhhhn"),
        (Branch("order", ("hair", "ink"), 2, 5), "nnhhhb"),
        (Branch("order", ("ink", "hair"), 2, 5), "nniiib"),
        (Branch("present", ("ink",), N, N), "iiiiii"),
        (Branch("removal", ("ink",), 2, N), "iinnnn"),
        (Branch("removal", ("ink",), 0, N), "nnnnnn"),
    ],
)
def test_the_prompts_of_each_step(branch, expected):
    assert word(plan(**ALL), branch) == expected


def test_every_image_that_was_asked_for_is_there_once():
    branches = plan(**ALL).branches
    assert len(set(branches)) == len(branches)
    assert branches[0] == Branch("neutral", (), N, N)
    assert {b.method for b in branches} == set(METHODS)
    of = {method: [b for b in branches if b.method == method] for method in METHODS}
    for method, attributes in (("swap", {"hair", "ink"}), ("combination", {"ink+hair"})):
        expected = {(a, s) for a in attributes for s in SWAPS}
        assert {(b.attribute, b.swap_step) for b in of[method]} == expected
    assert len(of["strength"]) == 2 * 2 * len(SWAPS)  # 0.5 and 2 of two attributes: 1 is the swap itself
    assert plan(**ALL).images == 2 * 3 * len(branches)


def test_one_step_late_every_swap_acts_a_step_later():
    late = plan(**ALL, one_step_late=True)
    words = {b: word(late, b) for b in late.branches}
    assert words[Branch("swap", ("hair",), 0, N)] == "nhhhhh"
    assert words[Branch("window", ("hair",), 2, 5)] == "nnnhhh"
    assert words[Branch("removal", ("ink",), 4, N)] == "iiiiin"
    at_the_end = plan(swap_steps=[5], one_step_late=True)
    assert word(at_the_end, Branch("swap", ("hair",), 5, N)) == "nnnnnn"


def test_a_strength_blends_from_the_neutral_prompt_or_scales_the_target():
    half = Branch("strength", ("hair",), 2, N, 0.5)
    for scale, expected in (
        (False, Prompt("nevus with hair", 0.5, "nevus")),
        (True, Prompt("nevus with hair", 0.5)),
    ):
        asked = plan(**ALL, scale=scale)
        assert asked.edit("NV", asked.branches[asked.branches.index(half)]).prompts == (Prompt(""), expected)


def test_a_letter_is_the_guided_prompt_of_its_step():
    asked = plan(guidance_scale=3.0, negative_prompt="blurry")
    neutral, swap = asked.branches[:2]
    blurry, nevus, hair = map(Prompt, ("blurry", "nevus", "nevus with hair"))
    assert asked.edit("NV", neutral).terms == ((blurry, -2.0), (nevus, 3.0))
    assert asked.edit("NV", swap).terms == ((blurry, -2.0), (hair, 3.0))
    assert plan(guidance_scale=1.0).edit("NV", swap).terms == ((hair, 1.0),)
    assert asked.rows_per_seed == 2 * asked.calls_per_seed
    assert plan(guidance_scale=1.0).rows_per_seed == asked.calls_per_seed


def test_a_placebo_swaps_the_neutral_caption_for_other_words():
    asked = plan(placebo="here: {neutral}, {cls}")
    placebos = [branch for branch in asked.branches if branch.method == "placebo"]
    assert [(b.attribute, b.swap_step) for b in placebos] == [("placebo", s) for s in sorted(SWAPS)]
    assert asked.text("NV", placebos[0]) == "here: nevus, nevus"
    words = [asked.word("NV", branch) for branch in (placebos[1], asked.branches[0])]
    assert [a == b for a, b in zip(*words, strict=True)] == [True, True, *[False] * 4]


def test_each_prompt_is_in_the_table_once():
    asked = plan(**ALL)
    texts = [("nevus with hair", x) for x in (1, 0.5, 2)]
    assert len(set(asked.prompts)) == len(asked.prompts) == 1 + 2 * (1 + 2 + 1 + 2 * 2)
    assert {("nevus with hair", p.strength) for p in asked.prompts if p.text == "nevus with hair"} == set(
        texts
    )
    assert plan(swap_steps=[N]).prompts == [
        Prompt(""),
        Prompt("melanoma"),
        Prompt("nevus"),
    ]  # never swapped, never encoded


@pytest.mark.parametrize("seed", range(10))
def test_calls_equal_the_formula(seed):
    chance = random.Random(seed)
    n = chance.randint(1, 60)
    swaps = chance.sample(range(n + 1), chance.randint(1, n + 1))
    attributes = ["hair", "ink", "ruler"][: chance.randint(1, 3)]
    asked = plan(num_inference_steps=n, swap_steps=swaps, attributes=attributes)
    assert asked.calls_per_seed == n + len(attributes) * sum(n - s for s in swaps)
    assert asked.plain_calls_per_seed == (1 + len(attributes) * len(swaps)) * n
    assert asked.unet_calls == 2 * 3 * asked.calls_per_seed
    assert asked.nodes == [1 + len(attributes) * sum(s <= i for s in swaps) for i in range(n)]


def test_the_papers_sweep_costs_950_calls_instead_of_1850():
    names = {a: a for a in ("a", "b", "c", "d")}
    captions = CaptionTemplate("{cls} with {attributes}", "{cls}", {"c": "c"}, names)
    asked = plan_sweep(
        captions,
        classes=["c"],
        attributes=list(names),
        swap_steps=range(5, 50, 5),
        num_inference_steps=50,
        seeds=[0],
    )
    assert (asked.calls_per_seed, asked.plain_calls_per_seed) == (950, 1850)


@pytest.mark.parametrize(
    "extra, more",
    [
        ({"windows": [(2, 5)]}, N - 5),  # the swap at 2, until it goes back out
        ({"windows": [(2, N)]}, 0),  # the swap at 2 itself
        ({"windows": [(3, 3)]}, 0),  # never in: the neutral image
        ({"windows": [(1, 5)]}, N - 1),  # no swap at 1 to share with
        ({"windows": [(2, 5)], "orders": [("hair", "ink")]}, (N - 5) + (N - 5) + (N - 2)),
        ({"removal": True}, (N - 4) + (N - 2)),  # "present" is the swap at 0, the removal at 0 is neutral
        ({"strengths": [1]}, 0),
        ({"strengths": [0.5]}, 3 * N - sum(SWAPS)),
        ({"combinations": [["hair", "ruler"]]}, 3 * N - sum(SWAPS)),
    ],
)
def test_nothing_is_computed_twice(extra, more):
    """What the images asked for beside the swaps of one attribute cost on top of them."""
    one = {"attributes": ["hair"]}
    assert plan(**one, **extra).calls_per_seed == plan(**one).calls_per_seed + more


def test_images_with_the_same_prompts_are_one_leaf_of_the_tree():
    asked = plan(attributes=["hair"], swap_steps=[0, 2, N], removal=True, windows=[(2, N), (3, 3)])
    _, ends = asked.tree("NV")
    of = {(b.method, b.swap_step): end for b, end in zip(asked.branches, ends, strict=True)}
    neutral = of["neutral", N]
    assert of["swap", N] == of["window", 3] == of["removal", 0] == neutral
    assert of["present", N] == of["removal", N] == of["swap", 0] != neutral
    assert of["window", 2] == of["swap", 2] != neutral
    assert len(set(ends)) == 4  # the fourth is the removal at 2


def test_the_tree_is_the_same_for_every_class_but_for_its_prompts():
    asked = plan(**ALL)
    (mel, ends), (nv, ends_nv) = asked.tree("MEL"), asked.tree("NV")
    assert ends == ends_nv
    for a, b in zip(mel, nv, strict=True):
        assert a.parents == b.parents
        assert not set(a.letters) & set(b.letters)


def test_what_later_stages_read_of_a_plan():
    said = describe(plan(**ALL))
    assert said["classes"] == ["MEL", "NV"]
    assert said["attributes"] == ["hair", "ink"]
    assert said["swap_steps"] == [0, 2, 4]
    assert said["methods"] == list(METHODS)
    assert said["neutral_prompts"] == {"MEL": "melanoma", "NV": "nevus"}
    assert said["target_prompts"]["NV/ink+hair"] == "nevus with hair, ink"


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"swap step 7 lies outside 0\.\.6"):
        plan(swap_steps=[7])
    with pytest.raises(ValueError, match=r"swap step -1 lies outside 0\.\.6"):
        plan(swap_steps=[-1])
    for window, low in (((4, 3), 4), ((4, 7), 4)):
        with pytest.raises(ValueError, match=rf"until {window[1]} lies outside {low}\.\.6"):
            plan(windows=[window])
    with pytest.raises(UserError, match=r"the captions have no attribute 'hairs'.*hair"):
        plan(attributes=["hairs"]).prompts  # noqa: B018
