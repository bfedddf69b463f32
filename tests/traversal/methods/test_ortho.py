"""Orthogonal guidance: nothing along the others is left, and the cases in which it is another method."""

import torch

from latentpath.diffusion.mix import Mix
from latentpath.traversal.methods.ortho import Apart, Ortho, without
from latentpath.traversal.words import Swap

U, N, P, K1, K2 = "u", "n", "p", "k1", "k2"
BASE = Mix.of((U, -2.0), (N, 3.0))


def outputs(letter, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((len(letter), 4, 3, 8, 8), generator=generator)


def dot(a, b):
    return (a * b).sum(dim=(1, 2, 3))


def test_nothing_along_the_others_is_left():
    direction, one, two = torch.randn((3, 4, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    rest = without(direction, [one, two])
    torch.testing.assert_close(dot(rest, one), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(dot(rest, two), torch.zeros(4), atol=1e-3, rtol=0)
    matrix = torch.stack([one.flatten(1), two.flatten(1)], dim=2)
    solved = torch.linalg.lstsq(matrix, direction.flatten(1)[..., None]).solution
    expected = direction - (matrix @ solved)[..., 0].view_as(direction)
    torch.testing.assert_close(rest, expected, atol=1e-4, rtol=1e-4)


def test_a_direction_that_is_there_twice_removes_nothing_more():
    direction, one = torch.randn((2, 4, 3, 8, 8), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(without(direction, [one, 2 * one, 0 * one]), without(direction, [one]))


def test_without_others_it_is_factored_guidance():
    letter = Apart(BASE, N, P, (), 2.5)
    eps, _ = letter(outputs(letter))
    fcfg = Mix.of((U, -2.0), (N, 3.0 - 2.5), (P, 2.5))
    of = dict(zip(letter.prompts, outputs(letter), strict=True))
    torch.testing.assert_close(eps, fcfg(torch.stack([of[k] for k in fcfg.prompts]))[0])


def test_with_dial_0_it_is_the_neutral_image():
    letter = Apart(BASE, N, P, (K1, K2), 0.0)
    of = dict(zip(letter.prompts, outputs(letter), strict=True))
    assert torch.equal(letter(outputs(letter))[0], BASE(torch.stack([of[U], of[N]]))[0])


def test_a_row_does_not_depend_on_the_others_and_costs_a_row_a_prompt():
    letter = Apart(BASE, N, P, (K1, K2), 2.5)
    assert len(letter) == 5 and letter.map(len).prompts  # u, n, k1, k2, p
    every = letter(outputs(letter))[0]
    assert torch.equal(letter(outputs(letter)[:, 1:2])[0], every[1:2])


def test_in_the_tree_it_costs_its_rows_and_starts_from_the_neutral_image(plan, sample, of):
    asked = plan(methods={"ortho": {d: Swap(Ortho(d)) for d in (0.0, 2.0)}})
    nodes = 2 * (6 + 4 + 2)
    assert asked.rows_per_seed - plan().rows_per_seed == 2 * 5 * nodes  # u, n, p and two others
    latents = sample(asked)
    for (seed, _, method, _, dial), z in latents.items():
        if method == "ortho":
            same = torch.equal(z, latents[seed, "", "neutral", 6, 1.0])
            assert same == (dial == 0)
