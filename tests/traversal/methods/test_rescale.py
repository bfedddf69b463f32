"""Every method runs with guidance rescale, which needs the prompt to whose contrast a letter is scaled."""

from __future__ import annotations

import pytest
import torch

from latentpath.traversal.methods import METHODS
from latentpath.traversal.words import Swap


@pytest.mark.parametrize("name", [name for name in METHODS if name != "slider"])
def test_a_method_is_scaled_to_the_contrast_of_one_of_its_prompts(plan, sample, name):
    method = METHODS[name]()
    asked = plan(methods={name: {method.dial: Swap(method)}}, swap_steps=[2], seeds=[11])
    for letter in asked.letters:
        assert letter.prompts[letter.strongest].text != asked.negative_prompt
    plain, scaled = (sample(asked, rescale=share) for share in (0.0, 0.7))
    for key in plain:
        assert not torch.equal(plain[key], scaled[key]), key
