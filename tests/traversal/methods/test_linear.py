"""Methods that are mixes of prompts are rows of one table, and meet where their formulas say so."""

from __future__ import annotations

import pytest
import torch

from latentpath.traversal.methods.contrast import Contrast
from latentpath.traversal.methods.fcfg import Fcfg
from latentpath.traversal.methods.offtarget import Offtarget
from latentpath.traversal.words import Prompt, Swap

G = 3.0  # the guidance of the sweep


def swept(method) -> dict:
    return {"asked": {method.dial: Swap(method)}}


@pytest.mark.parametrize(
    "method, same",
    [
        (Fcfg(0.0, w_inv=G), "neutral"),
        (Fcfg(G, w_inv=G), "swap"),
        (Offtarget(0.0), "swap"),
    ],
)
def test_a_method_at_its_limit_is_a_letter_that_is_there_and_costs_nothing(plan, sample, of, method, same):
    asked = plan(methods=swept(method))
    assert asked.letters == plan().letters
    assert asked.calls_per_seed == plan().calls_per_seed
    latents = sample(asked)
    swaps = of(latents, "swap")
    for key, z in of(latents, "asked").items():
        neutral = latents[key[0], "", "neutral", 6, 1.0]
        assert torch.equal(z, neutral if same == "neutral" else swaps[key])


def test_factored_guidance_with_w_inv_one_is_contrast(plan):
    fcfg, contrast = plan(methods=swept(Fcfg(2.5))), plan(methods=swept(Contrast(2.5)))
    assert fcfg.letters == contrast.letters


def test_the_weights_are_those_of_the_formula(plan):
    asked = plan(methods={"a": {2.5: Swap(Fcfg(2.5, w_inv=2.0))}, "b": {1.0: Swap(Offtarget(1.0))}})
    names = {"": "u", "a dermoscopic image with melanoma": "n"}
    names |= {f"a dermoscopic image with melanoma showing {a}": a for a in ("hair", "ink", "ruler")}

    def weights(method: str) -> dict[str, float]:
        (branch,) = [b for b in asked.branches if (b.method, b.attribute, b.swap_step) == (method, "hair", 2)]
        return {names[prompt.text]: weight for prompt, weight in asked.edit("MEL", branch).terms}

    assert weights("swap") == {"u": 1 - G, "hair": G}
    assert weights("a") == {"u": 1 - 2.0, "n": 2.0 - 2.5, "hair": 2.5}
    assert weights("b") == {"u": 1 - G, "hair": G, "n": 1.0, "ink": -0.5, "ruler": -0.5}


def test_rows_of_the_unet_are_those_of_the_methods(plan):
    """For K swap steps of A attributes: 2 N for the trunk, and the method's rows for each further node."""
    nodes = 2 * (6 + 4 + 2)
    for method, rows in ((Contrast(2.5), 2), (Fcfg(2.5), 2), (Fcfg(2.5, w_inv=2.0), 3), (Offtarget(), 5)):
        more = plan(methods=swept(method)).rows_per_seed - plan().rows_per_seed
        assert more == rows * nodes
    assert plan().rows_per_seed == 2 * (6 + nodes)


def test_guidance_of_one_takes_one_row_and_no_negative_prompt(plan):
    asked = plan(guidance_scale=1.0)
    assert asked.rows_per_seed == asked.calls_per_seed
    assert all(letter.prompts != (Prompt(""),) for letter in asked.letters)
