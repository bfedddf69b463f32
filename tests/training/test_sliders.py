"""A slider is trained for real, resumes, loads in diffusers, and at scale 0 changes nothing."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from latentpath.commands import finetune, sliders
from latentpath.config.checks import check
from latentpath.config.schema import CaptionsConfig
from latentpath.config.training import SlidersConfig
from latentpath.data.captions import caption_template
from latentpath.data.records import ImageTable
from latentpath.diffusion.adapters import load_adapter, set_scales
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.errors import UserError
from latentpath.training.sliders import SliderTrainer
from latentpath.training.trainable import make_trainable

STEPS = 12


@pytest.fixture(scope="module")
def words(tiny_sd, isic_32) -> list[str]:
    return [
        "experiment=demo",
        f"model.name={tiny_sd}",
        f"dataset.root={isic_32}",
        "dataset.image_size=32",
        "finetune.max_steps=4",
        "finetune.batch_size=4",
        "timesteps.num_inference_steps=2",
        "timesteps.swap_steps=[0]",
        "sliders.attributes=[hair]",
        f"sliders.max_steps={STEPS}",
        "sliders.checkpoint_every=4",
        "sliders.lr=0.02",
        "sliders.eta=1",
    ]


@pytest.fixture(scope="module")
def tuned(words, compose, tmp_path_factory):
    """A folder of runs with the run `a`, which has a fine-tune."""
    folder = tmp_path_factory.mktemp("runs")
    finetune.run(compose("finetune", *words, f"output_dir={folder}", "name=a"), folder / "a")
    return folder


@pytest.fixture
def train(words, compose, tuned):
    def trained(*more: str, name: str = "b") -> float | None:
        common = [*words, f"output_dir={tuned}", f"name={name}", "from_run=a"]
        return sliders.run(compose("sliders", *common, *more), tuned / name)

    return trained


@pytest.fixture
def unet(tuned) -> Any:
    return UNet2DConditionModel.from_pretrained(tuned / "a" / "finetune" / "pipeline" / "unet").eval()


def output(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    z, hidden = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 7, 16, generator=generator)
    with torch.no_grad():
        return unet(z, torch.tensor([100, 700]), hidden).sample


def test_it_learns_and_diffusers_reads_it_and_scale_zero_is_exact(train, tuned, unet):
    left = train()
    assert left is not None and left < 0.9, "1 is an adapter that does nothing"
    before = output(unet)
    load_adapter(unet, tuned / "b/sliders/hair", "hair")
    on = output(unet)
    assert not torch.equal(before, on)
    for scale in (0.0, 0.5, -1.0):
        set_scales(unet, {"hair": scale})
        assert torch.equal(output(unet), before) == (scale == 0)
    set_scales(unet, {"hair": 1.0})
    assert torch.equal(output(unet), on)
    set_scales(unet, {})
    assert torch.equal(output(unet), before)

    pipe = StableDiffusionPipeline.from_pretrained(tuned / "a/finetune/pipeline")
    pipe.load_lora_weights(tuned / "b/sliders/hair", adapter_name="hair")
    assert torch.equal(output(pipe.unet), on)


def test_a_killed_slider_resumes_to_the_same_adapter(train, tuned, monkeypatch):
    train(name="straight")
    step = SliderTrainer.training_step

    def dies(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        if int(batch["number"]) == 6:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SliderTrainer, "training_step", dies)
    with pytest.raises(RuntimeError, match="killed"):
        train(name="killed")
    monkeypatch.undo()
    state = torch.load(tuned / "killed/sliders/hair/checkpoints/last.ckpt", weights_only=True)
    assert all("lora" in name for name in state["state_dict"]), "the U-Net is in the pipeline"
    train(name="killed")
    file = "sliders/hair/pytorch_lora_weights.safetensors"
    straight, killed = (load_file(tuned / name / file) for name in ("straight", "killed"))
    assert straight.keys() == killed.keys()
    assert all(torch.equal(weights, killed[name]) for name, weights in straight.items())


def test_another_attribute_leaves_a_trained_slider_alone(train, tuned, monkeypatch):
    train(name="two")
    before = (tuned / "two/sliders/hair/pytorch_lora_weights.safetensors").stat().st_mtime_ns
    train("sliders.attributes=[hair,ink]", name="two")
    assert (tuned / "two/sliders/hair/pytorch_lora_weights.safetensors").stat().st_mtime_ns == before
    assert (tuned / "two/sliders/ink/pytorch_lora_weights.safetensors").exists()
    with pytest.raises(UserError, match=r"sliders\.eta: 1\.0 there, 3\.0 now"):
        train("sliders.eta=3", name="two")


def test_the_target_is_the_published_formula(unet):
    """Without an adapter the loss is eta^2 |eps(z, c+) - eps(z, c)|^2, computed here by hand."""
    generator = torch.Generator().manual_seed(3)
    without, with_it = (Conditioning(torch.randn(2, 7, 16, generator=generator)) for _ in range(2))
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    schedule = NoiseSchedule.from_config({"num_train_timesteps": 1000, **betas})
    seen: list[torch.Tensor] = []
    make_trainable(unet, "lora", rank=2, alpha=1)
    task = SliderTrainer(
        unet,
        SlidersConfig(eta=3.0),
        without=without,
        with_it=with_it,
        schedule=schedule,
        scaling_factor=0.18,
        seed=0,
    )
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    inner = unet.forward

    def noted(*args: Any, **options: Any) -> Any:
        found = inner(*args, **options)
        seen.append(found[0])
        return found

    unet.forward = noted
    batch = {
        "moments": torch.randn(2, 8, 8, 8, generator=generator),
        "places": torch.arange(2),
        "captions": torch.tensor([1, 0]),
    }
    loss = task.training_step(batch, 0)
    there, beyond, now = seen
    assert torch.equal(there, now), "a new adapter changes nothing"
    assert float(loss.detach()) == pytest.approx(9 * float((beyond - there).square().mean()), rel=1e-5)
    loss.backward()
    grads = {name for name, p in unet.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert grads and all("lora" in name for name in grads)


def test_captions_keep_the_other_attributes_if_asked_to():
    captions = caption_template(CaptionsConfig(), ["M"], ["hair", "ink"])
    rows = pd.DataFrame({"cls": ["M", "M"], "hair": [1.0, 0.0], "ink": [1.0, float("nan")], "split": "train"})
    table = ImageTable(rows, ("M",), ("hair", "ink"), captions)
    with_ink, plain = sliders.caption_pairs(table, rows, "hair", preserve=True)
    assert with_ink == (captions.caption("M", ["ink"]), captions.caption("M", ["hair", "ink"]))
    assert plain == (captions.caption("M"), captions.caption("M", ["hair"]))
    assert sliders.caption_pairs(table, rows, "hair", preserve=False) == [plain, plain]


def test_a_missing_fine_tune_slider_or_attribute_is_named(train, compose, words, tuned, unet):
    with pytest.raises(UserError, match="finetune, which is missing"):
        sliders.run(compose("sliders", *words, f"output_dir={tuned}", "name=none"), tuned / "none")
    with pytest.raises(UserError, match="latentpath sliders"):
        load_adapter(unet, tuned / "nowhere", "hair")
    with pytest.raises(UserError, match=r"sliders\.attributes: the data set has no attribute 'hiar'.*hair"):
        check(compose("sliders", "experiment=demo", "sliders.attributes=[hiar]"))
