"""A sweep from zero terminal SNR with rescaled guidance equals diffusers' pipelines of both families."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.guidance import GuidedDenoiser, rescaled
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.sampling import build_sampler

N, RESCALE = 6, 0.7
CAPTIONS = CaptionTemplate("{cls} showing {attributes}", "{cls}", {"MEL": "melanoma"}, {"hair": "hair"})
ZERO_SNR = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


@pytest.fixture
def base(request, tmp_path) -> Path:
    """A base model of the family that is asked for, whose scheduler begins at zero terminal SNR."""
    folder = Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path / "base"))
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | ZERO_SNR))
    return folder


@pytest.mark.parametrize("base", ["tiny_sd", "tiny_sdxl"], indirect=True)
@pytest.mark.parametrize("rescale", [0.0, RESCALE])
def test_every_leaf_equals_a_full_pipeline_run_that_swaps(base, rescale):
    kind = StableDiffusionXLPipeline if (base / "text_encoder_2").is_dir() else StableDiffusionPipeline
    pipeline = kind.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    asked = plan_sweep(
        CAPTIONS,
        classes=["MEL"],
        attributes=["hair"],
        swap_steps=[0, 2, 5],
        num_inference_steps=N,
        seeds=[3],
        negative_prompt="blurry",
    )
    sampler = build_sampler(asked, BaseModel(str(base)), image_size=32, guidance_rescale=rescale)
    assert sampler.solver.levels[0][0] == 0
    for leaf, found in zip(*walk(asked, sampler, cls="MEL", seeds=[3]), strict=True):
        encoded = {
            text: [
                part
                for part in pipeline.encode_prompt(
                    text,
                    device="cpu",
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=True,
                    negative_prompt="blurry",
                )
            ]
            for text in ("melanoma", "melanoma showing hair")
        }

        def swap(pipe, step_index, timestep, tensors, leaf=leaf, encoded=encoded):
            edited = step_index + 1 >= leaf.branch.swap_step
            hidden, none, *pooled = encoded["melanoma showing hair" if edited else "melanoma"]
            changed = {"prompt_embeds": torch.cat([none, hidden])}
            return changed | ({"add_text_embeds": torch.cat(pooled[::-1])} if pooled else {})

        first = encoded["melanoma showing hair" if leaf.branch.swap_step == 0 else "melanoma"]
        names = [
            "prompt_embeds",
            "negative_prompt_embeds",
            "pooled_prompt_embeds",
            "negative_pooled_prompt_embeds",
        ]
        expected = pipeline(
            **dict(zip(names, first, strict=False)),
            height=32,
            width=32,
            num_inference_steps=N,
            guidance_scale=7.5,
            guidance_rescale=rescale,
            generator=torch.Generator().manual_seed(3),
            output_type="latent",
            callback_on_step_end=swap,
            callback_on_step_end_tensor_inputs=names[:1] + ["add_text_embeds"] * (len(first) > 2),
        ).images[0]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_mix_of_any_length_is_scaled_to_its_strongest_prompt():
    from latentpath.diffusion.conditioning import Conditioning
    from latentpath.diffusion.mix import Mix

    table = Conditioning(torch.tensor([0.5, -2.0, 3.0]).view(3, 1, 1))
    network = lambda z, t, encoder_hidden_states, return_dict: (encoder_hidden_states[:, None] * z + 1,)  # noqa: E731
    letters = [Mix.of((0, -1.5), (1, 2.5)), Mix.of((2, 1.0)), Mix.of((0, -2.0), (1, 2.0), (2, 1.0))]
    z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = GuidedDenoiser(network, table, letters, batch_size=8)(z, 5.0, [0, 1, 2])
    found = GuidedDenoiser(network, table, letters, batch_size=8, rescale=RESCALE)(z, 5.0, [0, 1, 2])
    strongest = torch.tensor([-2.0, 3.0, -2.0]).view(3, 1, 1, 1) * z + 1
    torch.testing.assert_close(found, rescaled(plain, strongest, RESCALE))
    torch.testing.assert_close(found[1], plain[1])  # a prompt alone stays as it is
    assert (found[0] - plain[0]).abs().max() > 0.1
