"""Training works in every precision of the configuration, with gradient clipping and EMA."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.utils.data import DataLoader

from latentpath.config.training import FinetuneConfig
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning
from latentpath.training.averaging import WeightEMA
from latentpath.training.finetune import UNetFinetuner

STEPS = 3


class _Batches(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, k: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(k)
        return {
            "moments": torch.randn(2, 8, 8, 8, generator=generator),
            "captions": torch.randint(4, (2,), generator=generator),
            "places": torch.arange(2 * k, 2 * k + 2),
        }


def _task(tiny_sd, **options) -> UNetFinetuner:
    base = BaseModel(str(tiny_sd))
    settings = FinetuneConfig(**{"lr": 1e-3, "max_steps": STEPS} | options)
    captions = Conditioning(torch.randn(4, 7, 16, generator=torch.Generator().manual_seed(9)))
    model = {"schedule": base.schedule(), "scaling_factor": 0.18, "seed": 0}
    return UNetFinetuner(base.unet().train(), settings, captions=captions, **model)


def _fit(task, tmp_path, precision: str, *callbacks: L.Callback, clip: float = 1.0) -> None:
    chosen: dict = {"precision": precision}
    if precision == "16-mixed":  # Lightning would take bf16-mixed on a CPU, which has no loss scale
        chosen = {
            "plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10))]
        }
    L.Trainer(
        **chosen,
        max_steps=STEPS,
        accelerator="cpu",
        gradient_clip_val=clip,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    ).fit(task, DataLoader(_Batches(), batch_size=None))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
def test_every_precision_trains_with_clipping_and_an_average(tiny_sd, tmp_path, precision):
    task = _task(tiny_sd)
    before = {name: value.clone().float() for name, value in task.unet.state_dict().items()}
    _fit(task, tmp_path, precision, WeightEMA(0.9))
    after = {name: value.float() for name, value in task.unet.state_dict().items()}
    assert all(value.isfinite().all() for value in after.values())
    assert sum(not torch.equal(before[name], after[name]) for name in before) > len(before) // 2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_gradients_are_clipped_after_the_loss_scale_is_taken_out(tiny_sd, tmp_path, precision):
    """The norm that AdamW sees is the one asked for, whatever the loss was multiplied with."""
    norms = []

    class Norms(L.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            grads = [p.grad for p in pl_module.unet.parameters() if p.grad is not None]
            if grads:
                norms.append(torch.linalg.vector_norm(torch.stack([g.float().norm() for g in grads])).item())

    _fit(_task(tiny_sd), tmp_path, precision, Norms(), clip=1e-3)
    assert len(norms) >= STEPS - 1
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-2)


@pytest.mark.parametrize("every", [1, 2])
def test_the_weight_average_follows_its_formula(tiny_sd, tmp_path, every):
    seen = []

    class Weights(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            seen.append(pl_module.unet.conv_in.weight.detach().clone().double())

    task = _task(tiny_sd)
    _fit(task, tmp_path, "32-true", Weights(), WeightEMA(0.8, every=every))
    expected = seen[0]
    for step in range(every, STEPS, every):
        expected = 0.8**every * expected + (1 - 0.8**every) * seen[step]
    assert torch.allclose(task.unet.conv_in.weight.double(), expected, atol=1e-7)


def test_the_weight_average_stays_on_the_device_of_the_weights(tiny_sd, tmp_path, monkeypatch):
    """Lightning makes it before it moves the model: without care it would stay on the host of a GPU."""
    task, average = _task(tiny_sd), WeightEMA(0.9)

    class Trainer:
        class strategy:
            root_device = torch.device("meta")

    average.setup(Trainer, task, "fit")  # pyright: ignore[reportArgumentType]
    assert {p.device.type for p in average.averaged.parameters()} == {"meta"}
    assert task.unet.device.type == "cpu"


def test_the_average_of_half_precision_weights_is_kept_in_float32(tiny_sd, tmp_path):
    average, types = WeightEMA(0.999), []

    class Types(L.Callback):
        def on_train_batch_end(self, *args):
            types.append({p.dtype for p in average.averaged.parameters()})

    _fit(_task(tiny_sd), tmp_path, "bf16-true", average, Types())
    assert types == [{torch.float32}] * STEPS
