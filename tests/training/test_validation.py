"""The validation loss of a fine-tune: the same pairs every time, cheap, and the same curve after a kill."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from latentpath.config.checks import check
from latentpath.config.schema import conf_dir
from latentpath.config.training import FinetuneConfig, TrainerConfig
from latentpath.data.latent_cache import LatentCache
from latentpath.diffusion.components import BaseModel
from latentpath.errors import UserError
from latentpath.runs.metrics_file import MetricsFile
from latentpath.runs.ranks import SINGLE, Rank
from latentpath.training import validation
from latentpath.training.finetune import UNetFinetuner
from latentpath.training.fit_unet import Fitted, fit_unet
from latentpath.training.sample_grid import SampleGrid
from latentpath.training.validation import BINS, HeldOut, choose_images, fixed_draws, steps_between

SETTINGS: dict[str, Any] = {
    "max_steps": 6,
    "batch_size": 2,
    "lr": 1e-2,
    "checkpoint_every": 4,
    "log_every": 1,
    "val_every_steps": 2,
    "ema_decay": 0.5,
}


def latents(count: int, seed: int) -> LatentCache:
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    moments = rng.normal(size=(count, 8, 8, 8)).astype(np.float16)
    return LatentCache(moments, torch.randn(3, 7, 16, generator=generator), np.arange(count) % 3)


@pytest.fixture
def fit(tiny_sd):
    def fitted(folder: Path, base: Any = None, images: int = 3, **settings: Any) -> Fitted:
        chosen = FinetuneConfig(**SETTINGS | settings)
        held_out = HeldOut(
            latents(images, 1), [f"image {k}" for k in range(images)], timesteps=1000, batch_size=4
        )
        base = base or BaseModel(str(tiny_sd))
        return fit_unet(
            base,
            latents(6, 0),
            base.schedule(),
            chosen,
            image_size=32,
            seed=0,
            folder=folder,
            trainer_config=TrainerConfig(accelerator="cpu"),
            loggers=[MetricsFile(folder)],
            grid=SampleGrid(folder, columns=[], every=0, sample=lambda unet: torch.zeros(0)),
            rank=SINGLE,
            held_out=held_out,
        )

    return fitted


def curve(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "metrics.csv")
    rows = rows.set_index("step").filter(like="val/").dropna(how="all")
    assert rows.index.is_unique
    return rows


def same(a: Any, b: Any) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for (_, x), y in pairs)


def test_noise_and_timestep_depend_on_the_image_and_the_bin_only():
    ids, bins = ["a", "a", "b", "b"], [0, BINS - 1, 0, 2]
    one = fixed_draws(ids, bins, (4, 8, 8), 1000)
    other = fixed_draws(ids[::-1], bins[::-1], (4, 8, 8), 1000)
    for part in ("posterior", "noise", "timestep"):
        assert torch.equal(getattr(one, part), getattr(other, part).flip(0))
    assert not torch.equal(one.noise[0], one.noise[1]) and not torch.equal(one.noise[0], one.noise[2])


def test_timesteps_fill_their_bins():
    many = fixed_draws([str(k) for k in range(2000)], [k % BINS for k in range(2000)], (1, 1, 1), 1000)
    for at in range(BINS):
        found = many.timestep[at::BINS]
        assert 250 * at <= found.min() and found.max() < 250 * (at + 1)
        assert found.double().mean() == pytest.approx(250 * at + 124.5, abs=12)
    assert many.noise.std() == pytest.approx(1, abs=0.05)


def test_each_patient_gives_an_image_before_any_gives_two():
    rows = pd.DataFrame({"image_id": [f"{k}" for k in range(12)], "group": [f"p{k // 4}" for k in range(12)]})
    chosen = choose_images(rows, 4)
    assert chosen["group"].iloc[:3].nunique() == 3 and len(chosen) == 4
    again = choose_images(rows.sample(frac=1, random_state=0), 4)
    assert chosen["image_id"].tolist() == again["image_id"].tolist(), "the order of the table is no matter"
    assert len(choose_images(rows, 100)) == 12


@pytest.mark.parametrize(
    "experiment", sorted(file.stem for file in (conf_dir() / "experiment").glob("*.yaml"))
)
def test_the_shipped_experiments_spend_at_most_five_percent(compose, experiment):
    settings = compose("finetune", f"experiment={experiment}", "dataset.root=data").finetune
    every = steps_between(settings, settings.val_images)
    assert every and settings.max_steps % every == 0, "the last step is validated"
    validations = settings.max_steps // every + 1
    rows = validations * settings.val_images * BINS * (2 if settings.ema_decay else 1)
    assert validations >= 2 and rows <= 0.05 * settings.max_steps * settings.batch_size * settings.accumulate


def test_a_short_training_has_no_validation_unless_it_is_asked_for():
    assert steps_between(FinetuneConfig(max_steps=20), 32) == 0
    assert steps_between(FinetuneConfig(max_steps=20, val_every_steps=5), 32) == 5
    assert steps_between(FinetuneConfig(max_steps=20, val_every_steps=5), 0) == 0
    assert steps_between(FinetuneConfig(max_steps=20_000, val_every_steps=0), 32) == 0


class CountedUNet(torch.nn.Module):
    """Predicts a multiple of its input and counts the rows it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.rows = {True: 0, False: 0}

    @property
    def dtype(self) -> torch.dtype:
        return self.scale.dtype

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        counted[torch.is_grad_enabled()] += len(noisy)
        return (self.scale * noisy,)


counted = {True: 0, False: 0}  # rows with and without a gradient, of the U-Net and of its average


def test_a_validation_costs_at_most_five_percent_of_the_rows(fit, tiny_sd, tmp_path):
    counted.update({True: 0, False: 0})
    defaults = {
        name: FinetuneConfig.__dataclass_fields__[name].default for name in ("max_steps", "batch_size")
    }
    schedule, unet = BaseModel(str(tiny_sd)).schedule(), CountedUNet()
    base = SimpleNamespace(schedule=lambda: schedule, unet=lambda: unet, scaling_factor=lambda: 0.18)
    settings = {
        "channels_last": False,
        "val_every_steps": "auto",
        "ema_decay": 0.0,
        "lr": 1e-3,
        "log_every": 50,
    }
    fit(tmp_path, base, images=FinetuneConfig().val_images, **defaults | settings)
    assert counted[True] == defaults["max_steps"] * defaults["batch_size"]
    assert 0 < counted[False] <= 0.05 * counted[True]
    assert curve(tmp_path).index[0] == 0 and curve(tmp_path).index[-1] == defaults["max_steps"]


def test_the_loss_is_the_formula_of_the_weights_and_of_their_average(fit, tmp_path):
    fitted = fit(tmp_path)  # the average is what is returned
    unet, schedule, cache = fitted.task.unet.eval(), fitted.task.schedule, latents(3, 1)
    losses = torch.zeros(3, BINS)
    for k in range(3):
        for at in range(BINS):
            draws = fixed_draws([f"image {k}"], [at], (4, 8, 8), 1000)
            mean, log_variance = torch.from_numpy(cache.moments[k : k + 1]).float().chunk(2, dim=1)
            z = fitted.task.scaling_factor * (mean + (log_variance / 2).exp() * draws.posterior)
            alpha = schedule.alphas_cumprod[draws.timestep]
            noisy = alpha.sqrt() * z + (1 - alpha).sqrt() * draws.noise
            with torch.no_grad():
                found = unet(noisy, draws.timestep, cache.prompt_embeds[k : k + 1]).sample
            losses[k, at] = (found - draws.noise).square().mean()
    row = curve(tmp_path).loc[6]
    assert row["val/loss_ema"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert row["val/loss_ema_t250-499"] == pytest.approx(float(losses[:, 1].mean()), rel=1e-5)
    assert abs(row["val/loss"] / row["val/loss_ema"] - 1) > 1e-4, "the weights are not their average"
    assert curve(tmp_path).index.tolist() == [0, 2, 4, 6]


def test_validation_does_not_change_the_training(fit, tmp_path):
    one, two = fit(tmp_path / "with"), fit(tmp_path / "without", val_every_steps=0)
    assert same(one.task.unet, two.task.unet)


@pytest.mark.parametrize("monitor", ["loss", "loss_ema"])
def test_the_best_step_is_exported(fit, tmp_path, monitor):
    settings = {"lr": 0.3, "monitor": monitor}  # a step that spoils the weights
    fitted = fit(tmp_path / "best", **settings)
    losses = curve(tmp_path / "best")[f"val/{monitor}"].iloc[1:]  # the base is no candidate
    best = int(losses.idxmin())
    assert fitted.exported == best and fitted.steps == 6
    assert fitted.task.validated[f"val/{monitor}"] == losses[best]
    kept = sorted(file.name for file in (tmp_path / "best/checkpoints").iterdir())
    assert kept == ["best.ckpt", "last.ckpt", "step=4.ckpt"]
    ema = 0.5 if monitor == "loss_ema" else 0.0
    until = fit(tmp_path / "until", **settings | {"max_steps": best, "monitor": None, "ema_decay": ema})
    assert same(fitted.task.unet, until.task.unet)


def test_patience_ends_a_training_that_gets_no_better(fit, tmp_path, monkeypatch):
    rises = iter([5.0, *range(1, 100)])
    monkeypatch.setattr(
        "latentpath.training.finetune.mean_losses", lambda name, *_: {f"val/{name}": float(next(rises))}
    )
    settings = {"max_steps": 40, "monitor": "loss", "patience": 2, "ema_decay": 0.0, "checkpoint_every": 2}
    fitted = fit(tmp_path, **settings)
    assert (fitted.exported, fitted.steps) == (2, 6)
    monkeypatch.setattr(UNetFinetuner, "training_step", lambda *_: pytest.fail("trained on"))
    again = fit(tmp_path, **settings)
    assert (again.exported, again.steps) == (2, 6)


def _killed_in(name: str, at: int):
    """Make the method `name` of the module raise in the call number `at`."""
    calls = iter(range(1, 1000))
    method = getattr(UNetFinetuner, name)

    def dies(self: UNetFinetuner, *args: Any) -> Any:
        if not self.trainer.sanity_checking and next(calls) == at:
            raise RuntimeError("killed")
        return method(self, *args)

    return dies


@pytest.mark.parametrize(
    "hook, at",
    [
        ("training_step", 3),  # before the first checkpoint
        ("training_step", 6),
        ("training_step", 7),
        ("validation_step", 4),  # in the validation of step 4, whose checkpoint is due
        ("on_validation_epoch_end", 4),  # in the validation of the last step
    ],
)
def test_a_killed_training_resumes_to_the_same_curve(fit, tmp_path, monkeypatch, hook, at):
    settings = {"max_steps": 8, "monitor": "loss_ema", "patience": 3, "lr": 0.05}
    straight = fit(tmp_path / "straight", **settings)
    monkeypatch.setattr(UNetFinetuner, hook, _killed_in(hook, at))
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "killed", **settings)
    monkeypatch.undo()
    resumed = fit(tmp_path / "killed", **settings)
    pd.testing.assert_frame_equal(curve(tmp_path / "straight"), curve(tmp_path / "killed"))
    assert (resumed.exported, resumed.steps) == (straight.exported, straight.steps)
    assert same(straight.task.unet, resumed.task.unet)


@pytest.mark.parametrize("step", [3, 4, 8])  # 4 and 8 are validated
def test_a_signal_keeps_the_validation_of_its_step(fit, tmp_path, monkeypatch, step):
    settings = {"max_steps": 8, "monitor": "loss_ema", "patience": 3, "lr": 0.05, "checkpoint_every": 100}
    straight = fit(tmp_path / "straight", **settings)
    train = UNetFinetuner.training_step

    def stops(self: UNetFinetuner, batch: Any, batch_idx: int) -> torch.Tensor:
        if int(batch["number"]) == step - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return train(self, batch, batch_idx)

    monkeypatch.setattr(UNetFinetuner, "training_step", stops)
    with suppress(SystemExit):
        fit(tmp_path / "stopped", **settings)
    monkeypatch.undo()
    state = torch.load(tmp_path / "stopped/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == step
    resumed = fit(tmp_path / "stopped", **settings)
    pd.testing.assert_frame_equal(curve(tmp_path / "straight"), curve(tmp_path / "stopped"))
    assert (resumed.exported, resumed.steps) == (straight.exported, straight.steps)
    assert same(straight.task.unet, resumed.task.unet)


def test_processes_share_the_pairs_and_count_each_once():
    cache = latents(5, 1)
    ids = [f"image {k}" for k in range(5)]
    whole = [HeldOut(cache, ids, timesteps=1000, batch_size=7)]
    parts = [HeldOut(cache, ids, timesteps=1000, batch_size=4, rank=Rank(r, 3, r)) for r in range(3)]
    assert {len(part) for part in parts} == {2}, "no process may wait for a batch that another has not"

    def seen(sets: list[HeldOut]) -> list[tuple[float, float]]:
        batches = [held_out[k] for held_out in sets for k in range(len(held_out))]
        return sorted(
            (float(noise.sum()), float(moments.sum()))
            for batch in batches
            for noise, moments, weight in zip(batch["noise"], batch["moments"], batch["weight"], strict=True)
            if weight
        )

    assert len(seen(whole)) == 5 * BINS
    np.testing.assert_allclose(seen(whole), seen(parts), rtol=1e-5)


@pytest.mark.parametrize(
    "words, message",
    [
        (["finetune.patience=3"], "finetune.patience needs finetune.monitor"),
        (["finetune.monitor=loss", "dataset.val_fraction=0"], "dataset.val_fraction is 0"),
        (["finetune.monitor=loss_ema", "finetune.ema_decay=0"], "finetune.ema_decay is 0"),
        (["finetune.monitor=loss", "finetune.val_every_steps=0"], "makes none in finetune.max_steps"),
        (["finetune.monitor=loss", "finetune.val_every_steps=9999"], "makes none in finetune.max_steps"),
        (["finetune.monitor=auroc"], "finetune.monitor is 'auroc'"),
    ],
)
def test_a_monitor_without_a_validation_is_refused_at_once(compose, words, message):
    with pytest.raises(UserError, match=message):
        check(compose("finetune", "experiment=demo", *words))


def test_a_monitor_without_images_is_refused_before_training():
    settings = FinetuneConfig(monitor="loss")
    with pytest.raises(UserError, match="images of the validation split"):
        validation.check_validation(settings, 0)
    with pytest.raises(UserError, match="would cost more than 5%"):
        validation.check_validation(cast(Any, FinetuneConfig(monitor="loss", max_steps=10)), 32)
