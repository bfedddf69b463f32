"""Every method edits real images after DDPM inversion, whose neutral image is the real one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.inversion import ddpm_inversion
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.engine import walk
from latentpath.traversal.methods.contrast import Contrast
from latentpath.traversal.methods.fcfg import Fcfg
from latentpath.traversal.methods.hspace import Hspace
from latentpath.traversal.methods.leditspp import Leditspp
from latentpath.traversal.methods.mask import Mask
from latentpath.traversal.methods.offtarget import Offtarget
from latentpath.traversal.methods.ortho import Ortho
from latentpath.traversal.methods.p2p import P2p
from latentpath.traversal.methods.sega import Sega
from latentpath.traversal.methods.slider import Slider
from latentpath.traversal.sampling import denoiser
from latentpath.traversal.words import Swap, target

N, G, SHAPE = 6, 3.0, (4, 8, 8)
USUAL = {
    "contrast": Swap(Contrast()),
    "fcfg": Swap(Fcfg()),
    "hspace": Swap(Hspace(300.0, seeds=2)),  # random weights have small directions
    "leditspp": Swap(Leditspp(quantile=0.5)),  # in so few pixels the two masks of 10 % can be apart
    "offtarget": Swap(Offtarget()),
    "ortho": Swap(Ortho()),
    "p2p": Swap(P2p()),
    "sega": Swap(Sega()),
    "masked": replace(Swap(target), late=Mask(0.3)),
}
NEUTRAL = {  # at these dials nothing is edited
    "fcfg": Swap(Fcfg(0.0, w_inv=G)),
    "hspace": Swap(Hspace(0.0)),
    "leditspp": Swap(Leditspp(0.0)),
    "ortho": Swap(Ortho(0.0)),
    "sega": Swap(Sega(0.0)),
    "slider": Swap(Slider(0.0)),
    "masked": replace(Swap(target), late=Mask(1.0)),
}
SWAPS = {"p2p": Swap(P2p(0.0, 0.0)), "fcfg": Swap(Fcfg(G, w_inv=G)), "offtarget": Swap(Offtarget(0.0))}


@pytest.fixture(scope="module")
def edited(plan, tiny_sd):
    """`edited(spells)`: the real latents (seeds, ...), and the images by (seed, method, swap step)."""
    model = BaseModel(str(tiny_sd))
    unet, encoder = model.unet().eval(), model.prompt_encoder(32)
    solver = build_solver("ddim", model.schedule(), N, eta=1.0)
    images = torch.randn((2, *SHAPE), generator=torch.Generator().manual_seed(7))

    def run(spells: dict):
        asked = plan(methods={name: {1.0: spell} for name, spell in spells.items()}, attributes=["hair"])
        denoise = denoiser(asked, unet=unet, encoder=encoder, batch_size=8, static=True)
        noise = ddpm_inversion(
            images, seeds=asked.seeds, denoise=lambda z, t: denoise(z, t, [0] * len(z)), solver=solver
        )
        denoise.rows = 0
        sampler = Sampler(denoise, solver, noise, "cpu", asked.remembers, asked.borrows)
        leaves, latents = walk(asked, sampler, cls="MEL", seeds=asked.seeds)
        assert denoise.rows == asked.unet_rows
        keys = [(leaf.seed, leaf.branch.method, leaf.branch.swap_step) for leaf in leaves]
        return dict(zip(asked.seeds, images, strict=True)), dict(zip(keys, latents, strict=True))

    return run


def test_the_neutral_image_is_the_real_one_and_each_method_edits_it(edited):
    real, found = edited(USUAL)
    for (seed, method, _), z in found.items():
        assert torch.isfinite(z).all()
        if method == "neutral":
            torch.testing.assert_close(z, real[seed], atol=1e-4, rtol=0)
        else:
            assert (z - real[seed]).abs().max() > 1e-2, method
    of = {step: found[3, "contrast", step] - real[3] for step in (0, 4)}
    assert of[0].norm() > of[4].norm()  # the later the edit begins, the closer to the real image


@pytest.mark.parametrize("method", NEUTRAL)
def test_at_the_dial_that_edits_nothing_it_gives_the_real_image_back(edited, method):
    real, found = edited({method: NEUTRAL[method]})
    for seed in real:
        for step in (0, 2, 4):
            assert torch.equal(found[seed, method, step], found[seed, "neutral", N])


@pytest.mark.parametrize("method", SWAPS)
def test_at_the_dial_that_is_the_swap_it_is_the_swap(edited, method):
    real, found = edited({method: SWAPS[method]})
    for seed in real:
        for step in (0, 2, 4):
            assert torch.equal(found[seed, method, step], found[seed, "swap", step])
