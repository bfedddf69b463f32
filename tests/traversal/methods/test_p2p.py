"""Prompt-to-prompt equals a run of two images at once, as its authors' code samples them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentpath.diffusion.attention import aligned
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.methods.p2p import P2p
from latentpath.traversal.methods.sega import Sega
from latentpath.traversal.words import Swap

N, SHAPE, G = 6, (4, 8, 8), 3.0


def spelled(*methods: P2p) -> dict:
    return {"p2p": {method.dial: Swap(method) for method in methods}}


class Controller:
    """The attention of a call with the rows u, u', n, p: p gets that of n. As in the code of 2208.01626."""

    def __init__(self, mapper: Tensor, cross: bool, own: bool) -> None:
        self.mapper, self.cross, self.own = mapper, cross, own

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None) -> Tensor:
        crosses = encoder_hidden_states is not None
        context = encoder_hidden_states if crosses else hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key, value = (attn.head_to_batch_dim(f(context)) for f in (attn.to_k, attn.to_v))
        probs = attn.get_attention_scores(query, key).unflatten(0, (4, attn.heads))
        base, other = probs[2], probs[3]
        if crosses and self.cross:
            known = (self.mapper >= 0).float()
            probs[3] = base[:, :, self.mapper] * known + other * (1 - known)
        if not crosses and self.own:
            probs[3] = base
        return attn.to_out[0](attn.batch_to_head_dim(torch.bmm(probs.flatten(0, 1), value)))


@pytest.mark.parametrize("method", [P2p(), P2p(0.4, 0.8), P2p(1.0, 0.0), P2p(0.0, 0.5)])
@pytest.mark.parametrize("s", [0, 2])
def test_it_equals_a_run_of_the_authors_kind(plan, sample, tiny_sd, method, s):
    model = BaseModel(str(tiny_sd))
    unet: Any = model.unet().eval()
    encoder, solver = model.prompt_encoder(32), build_solver("ddim", model.schedule(), N)
    neutral = "a dermoscopic image with melanoma"
    target = f"{neutral} showing hair"
    words = [encoder.tokens([text])[0] for text in (neutral, target)]
    shared = len(words[0]) - 1  # all but the end; `showing hair` is new, the end and the padding are not
    mapper = torch.tensor(
        [*range(shared), *[-1] * (len(words[1]) - len(words[0])), shared, *range(len(words[1]), 48)]
    )
    embeds = encoder(["", "", neutral, target]).hidden
    latents = SeededNoise(SHAPE).initial([11, 11])
    for step in range(N):
        texts = embeds if step >= s else embeds[[0, 0, 2, 2]]
        if step >= s:
            cross, own = (step < int(x * N) for x in (method.dial, method.self_attention))
            unet.set_attn_processor(Controller(mapper, cross, own))
        with torch.no_grad():
            outputs = unet(torch.cat([latents, latents]), solver.timesteps[step], texts, return_dict=False)[0]
        u, e = outputs.chunk(2)
        ((latents, *_), _) = solver.step((latents,), u + G * (e - u), step)
    found = sample(plan(methods=spelled(method)))
    torch.testing.assert_close(found[11, "", "neutral", N, 1.0], latents[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[11, "hair", "p2p", s, method.dial], latents[1], atol=1e-4, rtol=0)
    if s < N * max(method.dial, method.self_attention) - 1:
        assert (
            found[11, "hair", "p2p", s, method.dial] - found[11, "hair", "swap", s, 1.0]
        ).abs().max() > 1e-4


def test_with_both_shares_0_or_from_a_later_step_it_is_the_swap_and_costs_nothing(plan, sample, of):
    for method, steps in ((P2p(0.0, 0.0), [0, 2, 4]), (P2p(0.4, 0.3), [2, 4])):
        asked = plan(methods=spelled(method), swap_steps=steps)
        assert asked.calls_per_seed == plan(swap_steps=steps).calls_per_seed
        latents = sample(asked)
        for key, z in of(latents, "p2p").items():
            assert torch.equal(z, of(latents, "swap")[key])


def test_a_node_costs_two_rows_and_the_neutral_image_lends_for_nothing(plan):
    asked = plan(methods=spelled(P2p(1.0)))
    assert asked.rows_per_seed - plan().rows_per_seed == 2 * 2 * (6 + 4 + 2)


@pytest.mark.parametrize("solver, batch_size", [("ddim", 1), ("dpmpp_2m", 8), ("euler_ancestral", 8)])
def test_an_image_depends_on_its_seed_alone_whatever_methods_run_beside_it(plan, sample, solver, batch_size):
    """With small batches the neutral image is in another call of the U-Net than those that borrow from it."""
    both = spelled(P2p(), P2p(0.4)) | {"sega": {5.0: Swap(Sega())}}
    alone = plan(methods=spelled(P2p()), seeds=[11], attributes=["ink"], swap_steps=[2])
    among = sample(
        plan(methods=both, placebo="this is {neutral}", removal=True), solver, batch_size=batch_size
    )
    for key, z in sample(alone, solver, batch_size=batch_size).items():
        assert torch.equal(z, among[key])


def test_no_other_image_is_changed(plan, sample):
    among = sample(plan(methods=spelled(P2p())))
    for key, z in sample(plan()).items():
        assert torch.equal(z, among[key])


def test_tokens_correspond_in_their_order_and_the_padding_by_its_place():
    assert aligned((9, 1, 2, 8), (9, 1, 3, 2, 8), 7) == [0, 1, -1, 2, 3, 5, 6]
    assert aligned((9, 1, 2, 8), (9, 4, 2, 8), 5) == [0, -1, 2, 3, 4]  # a word in place of another
    assert aligned((9, 8), (9, 1, 8), 4) == [0, -1, 1, 3]
