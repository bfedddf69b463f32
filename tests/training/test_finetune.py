"""A real, tiny fine-tune: it learns, resumes after an interruption, and saves what diffusers loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from latentpath.commands import finetune
from latentpath.config.schema import Config
from latentpath.config.training import FinetuneConfig
from latentpath.data.load import load_dataset
from latentpath.diffusion import cached_latents
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning
from latentpath.errors import UserError
from latentpath.training.finetune import UNetFinetuner, warn_of_useless


@pytest.fixture
def config(compose, tiny_sd, isic_32, tmp_path):
    def configured(*overrides: str):
        return compose(
            "finetune",
            "experiment=demo",
            f"model.name={tiny_sd}",
            f"dataset.root={isic_32}",
            "dataset.image_size=32",
            f"output_dir={tmp_path}",
            "finetune.max_steps=6",
            "finetune.batch_size=4",
            "finetune.checkpoint_every=2",
            "finetune.log_every=1",
            "timesteps.num_inference_steps=2",
            "timesteps.swap_steps=[0]",
            *overrides,
        )

    return configured


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(folder / "finetune" / "pipeline" / "unet").state_dict()


@pytest.mark.parametrize(
    "prediction, zero_snr", [("epsilon", False), ("v_prediction", False), ("v_prediction", True)]
)
def test_finetune_changes_the_unet_alone_and_saves_a_pipeline(
    config, tiny_sd, tmp_path, prediction, zero_snr
):
    from diffusers import StableDiffusionPipeline

    cfg = config(f"model.prediction_type={prediction}", f"model.zero_terminal_snr={zero_snr}")
    loss = finetune.run(cfg, tmp_path / "run")
    assert loss is not None and loss > 0
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "finetune" / "pipeline")
    base = StableDiffusionPipeline.from_pretrained(tiny_sd)
    assert pipe.scheduler.config.prediction_type == prediction
    assert (pipe.scheduler.alphas_cumprod[-1] == 0) == zero_snr
    if zero_snr:  # sampling begins where there is nothing but noise
        assert BaseModel(str(tmp_path / "run" / "finetune" / "pipeline")).schedule().timesteps(5)[0] == 999
    for part in ("vae", "text_encoder"):
        for (name, a), b in zip(
            getattr(pipe, part).state_dict().items(), getattr(base, part).state_dict().values(), strict=True
        ):
            assert torch.equal(a, b), f"{part}.{name} moved"
    moved = [
        not torch.equal(a, b)
        for a, b in zip(pipe.unet.state_dict().values(), base.unet.state_dict().values(), strict=True)
    ]
    assert sum(moved) > len(moved) // 2
    base, final = (
        (tmp_path / "run" / "finetune" / "samples" / f"{name}.png").read_bytes() for name in ("base", "final")
    )
    assert base != final


@pytest.mark.parametrize("ema", ["0.0", "0.9"])
def test_a_killed_run_resumes_to_the_same_weights(config, tmp_path, monkeypatch, ema):
    """Bit-equal: same batches, same noise, same learning rate, same average."""
    cfg = config(f"finetune.ema_decay={ema}", "finetune.lr_decay=true", "finetune.caption_dropout=0.5")
    finetune.run(cfg, tmp_path / "straight")

    step = UNetFinetuner.training_step

    def dies(self, batch, batch_idx):
        if int(batch["number"]) == 5:  # the checkpoint of step 4 is there, step 5 is lost
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(UNetFinetuner, "training_step", dies)
    with pytest.raises(RuntimeError, match="killed"):
        finetune.run(cfg, tmp_path / "killed")
    monkeypatch.undo()
    numbers = []

    def counts(self, batch, batch_idx):
        numbers.append(int(batch["number"]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(UNetFinetuner, "training_step", counts)
    finetune.run(cfg, tmp_path / "killed")
    assert numbers == [4, 5], "it must not do complete steps again"
    straight, resumed = weights(tmp_path / "straight"), weights(tmp_path / "killed")
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name


def test_grids_go_to_the_tracker_where_asked_for(config, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("finetune.sample_every=4", "logger=tensorboard")
    for asked in (True, False):
        run = tmp_path / str(asked)
        finetune.run(config(*words, f"logger.images={asked}"), run)
        assert sorted(file.stem for file in run.glob("finetune/samples/*")) == [
            "base",
            "final",
            "step_000004",
        ]
        # A file before the end of the training, one after it.
        files = [EventAccumulator(str(file)).Reload() for file in run.glob("finetune/tensorboard/events.*")]
        pictured = [events for events in files if events.Tags()["images"] == ["samples"]]
        steps = sorted(image.step for events in pictured for image in events.Images("samples"))
        assert steps == ([4, 6] if asked else [])


@pytest.fixture
def encode(monkeypatch) -> Callable[[Config, Path], None]:
    """encode(cfg, run_dir): run `finetune` until its latents are there and the training would begin."""

    class Ready(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Ready

    def run(cfg: Config, run_dir: Path) -> None:
        with pytest.raises(Ready):
            finetune.run(cfg, run_dir)

    monkeypatch.setattr(finetune, "fit_unet", stop)
    return run


def test_the_latents_are_encoded_once(config, encode, tmp_path, monkeypatch):
    encode(config(), tmp_path / "one")
    monkeypatch.setattr(cached_latents, "build_cache", lambda *a, **k: pytest.fail("encoded again"))
    encode(config("finetune.lr=1e-5"), tmp_path / "two")


def test_a_cache_that_lacks_an_image_is_refused_if_all_are_required(
    config, encode, isic_32, tmp_path, caplog
):
    root = tmp_path / "isic"
    shutil.copytree(isic_32, root)
    cfg = config(f"dataset.root={root}")
    lost = Path(load_dataset(cfg.dataset).split("train")["path"].iloc[0])
    lost.write_bytes(b"no image")
    for name in ("built", "opened"):  # the second run skips as well, and says so again
        caplog.clear()
        encode(config(f"dataset.root={root}", f"name={name}"), tmp_path / name)
        assert sum(f"cannot read the image {lost}" in record.getMessage() for record in caplog.records) == 1
    with pytest.raises(UserError, match=f"unreadable image: 1 in the train split(.|\n)*{lost.name}"):
        finetune.run(config(f"dataset.root={root}", "dataset.on_error=fail"), tmp_path / "fails")


SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL = {
    "sample_size": 128,
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


@pytest.mark.parametrize(
    "config, parameters, pooled", [(SD15, 859_520_964, None), (SDXL, 2_567_463_684, 1280)]
)
def test_a_unet_of_full_size_takes_the_same_path(config, parameters, pooled):
    """The U-Nets of SD 1.5 and SDXL on the meta device: shapes and the objective fit, without the weights."""
    from diffusers import UNet2DConditionModel

    from latentpath.diffusion.objective import diffusion_loss
    from latentpath.diffusion.schedule import NoiseSchedule

    schedule = NoiseSchedule(torch.linspace(0.999, 0.005, 1000), final_alpha_cumprod=0.999)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
        assert sum(p.numel() for p in unet.parameters()) == parameters
        size, width = config["sample_size"], config["cross_attention_dim"]
        captions = Conditioning(
            torch.empty(3, 77, width), None if pooled is None else torch.empty(3, pooled), 8 * size
        )
        model = {"schedule": schedule, "scaling_factor": 0.18215, "seed": 0}
        task = UNetFinetuner(unet, FinetuneConfig(max_steps=1, lr=1e-5), captions=captions, **model)
        latents, timestep = torch.empty(2, 4, size, size), torch.tensor([1, 2])
        prompts = task.captions[torch.tensor([0, 2])]
        output = task.unet(latents, timestep, **prompts.unet_arguments()).sample
        loss = diffusion_loss(unet, latents, prompts, schedule, noise=latents, timestep=timestep)
        loss.backward()
    assert output.shape == latents.shape
    assert all(p.grad is not None and p.grad.shape == p.shape for p in unet.parameters())
    task.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert len(task.configure_optimizers()["optimizer"].param_groups[0]["params"]) == len(
        list(unet.parameters())
    )


@pytest.mark.parametrize("trainable", ["full", "lora"])
def test_sdxl_is_fine_tuned_and_saved_as_its_pipeline(config, tiny_sdxl, tmp_path, trainable):
    from diffusers import StableDiffusionXLPipeline

    overrides = [f"finetune.trainable={trainable}", "finetune.lr=0.01", "finetune.ema_decay=0.5"]
    loss = finetune.run(config(f"model.name={tiny_sdxl}", *overrides), tmp_path / "xl")
    assert loss is not None and 0 < loss < 2
    tuned = StableDiffusionXLPipeline.from_pretrained(tmp_path / "xl" / "finetune" / "pipeline")
    base = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    for part in ("text_encoder", "text_encoder_2", "vae"):
        expected = getattr(base, part).state_dict()
        assert all(torch.equal(w, expected[name]) for name, w in getattr(tuned, part).state_dict().items())
    if trainable == "full":  # what takes the pooled embedding and the size learns, too
        name = "add_embedding.linear_1.weight"
        assert not torch.equal(tuned.unet.state_dict()[name], base.unet.state_dict()[name])
    else:
        base.load_lora_weights(tmp_path / "xl" / "finetune" / "lora")
        base.fuse_lora()
        base.unload_lora_weights()
        for name, tensor in tuned.unet.state_dict().items():
            torch.testing.assert_close(base.unet.state_dict()[name], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize("trainable", ["lora", "attention"])
def test_a_light_fine_tune_saves_a_whole_pipeline(config, tiny_sd, tmp_path, trainable):
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    finetune.run(
        config(
            f"finetune.trainable={trainable}",
            "finetune.lora_rank=2",
            "finetune.lora_alpha=4",
            "finetune.lr=0.1",
        ),
        tmp_path / "light",
    )
    base = UNet2DConditionModel.from_pretrained(tiny_sd / "unet").state_dict()
    moved = {
        name for name, tensor in weights(tmp_path / "light").items() if not torch.equal(tensor, base[name])
    }
    assert moved
    assert all(any(f".{part}." in name for part in ("to_q", "to_k", "to_v", "to_out.0")) for name in moved)
    if trainable == "lora":
        pipe = StableDiffusionPipeline.from_pretrained(tiny_sd)
        pipe.load_lora_weights(tmp_path / "light" / "finetune" / "lora")
        pipe.fuse_lora()
        pipe.unload_lora_weights()
        for name, tensor in weights(tmp_path / "light").items():
            torch.testing.assert_close(pipe.unet.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_options_of_speed_and_memory_change_no_loss(config, tmp_path):
    plain = finetune.run(config(), tmp_path / "plain")
    other = finetune.run(
        config(
            "finetune.gradient_checkpointing=true", "finetune.channels_last=false", "trainer.num_workers=1"
        ),
        tmp_path / "other",
    )
    assert other == pytest.approx(plain, rel=1e-4)


def test_another_vae_is_taken_and_saved_along(config, tiny_sd, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_sd / "vae", tmp_path / "vae")
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({k: v * 1.01 for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    finetune.run(config(f"model.vae={tmp_path / 'vae'}"), tmp_path / "mine")
    saved = load_file(tmp_path / "mine/finetune/pipeline/vae/diffusion_pytorch_model.safetensors")
    for name, tensor in load_file(file).items():
        assert torch.equal(saved[name], tensor)
    with pytest.raises(UserError, match=r"config\.json is missing"):
        finetune.run(config(f"model.vae={tmp_path / 'mine'}"), tmp_path / "none")


def test_a_signal_leaves_a_checkpoint_and_status_143(config, tmp_path, monkeypatch):
    """Then the same command goes on to the weights of a run that nothing stopped."""
    import os
    import signal

    cfg = config("finetune.checkpoint_every=1000", "finetune.lr_decay=true")
    finetune.run(cfg, tmp_path / "straight")
    step = UNetFinetuner.training_step

    def stops(self, batch, batch_idx):
        if int(batch["number"]) == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(UNetFinetuner, "training_step", stops)
    with pytest.raises(SystemExit) as stopped:
        finetune.run(cfg, tmp_path / "stopped")
    assert stopped.value.code == 143
    monkeypatch.undo()
    assert (tmp_path / "stopped/finetune/checkpoints/last.ckpt").exists()
    finetune.run(cfg, tmp_path / "stopped")
    straight, resumed = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    for key, tensor in straight.items():
        assert torch.equal(tensor, resumed[key]), key


def test_captions_whose_attribute_is_cut_are_refused_before_any_training(config, tmp_path, monkeypatch):
    """Their edits would all be exactly zero."""
    monkeypatch.setattr(UNetFinetuner, "training_step", lambda *_: pytest.fail("trained"))
    words = " and ".join(["a long description of the lesion"] * 15)
    templates = (
        f"dataset.captions.with_attributes='{{cls}} {words} with {{attributes}}'",
        f"dataset.captions.without_attributes='{{cls}} {words}'",
    )
    with pytest.raises(UserError, match="cannot tell these two prompts apart"):
        finetune.run(config(*templates), tmp_path / "run")


@pytest.mark.parametrize("step, stops", [(10, True), (11, False)])
def test_a_loss_that_is_not_finite_stops_at_the_first_logged_step(step, stops):
    logged = {"train/loss": torch.tensor(float("nan"))}
    trainer = SimpleNamespace(global_step=step, log_every_n_steps=10, callback_metrics=logged)
    task: Any = SimpleNamespace(trainer=trainer)
    with pytest.raises(UserError, match="not finite at step 10") if stops else nullcontext():
        UNetFinetuner.on_train_batch_end(task, None, None, 0)


@pytest.mark.parametrize("loss, offset, warns", [(0.4, 0.0, False), (1.02, 0.0, True), (1.02, 0.2, False)])
def test_a_loss_worse_than_predicting_zero_gives_a_warning(caplog, loss, offset, warns):
    warn_of_useless(loss, offset)
    assert ("the training diverged" in caplog.text) is warns
