"""Checks that types cannot express: names and ranges, within a config group and across groups."""

from __future__ import annotations

import math
from typing import Any, cast

from latentpath.config.plugins import SETTINGS, is_reference, load, references
from latentpath.config.schema import FEATURE_NETWORKS, LAYOUTS, SOLVERS, Config
from latentpath.errors import UserError, near
from latentpath.keys import INTERPOLATIONS, JOIN, RESERVED

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")
ATTENTION = ("default", "auto", "flash", "efficient", "cudnn", "math")


def check(cfg: Config, *, reads_images: bool = True) -> None:
    """Raise UserError for invalid names and ranges, contradictions between groups, and missing values.

    reads_images: whether the command reads the data set; other commands do not need dataset.root.
    """
    from omegaconf import OmegaConf

    for key in sorted(OmegaConf.missing_keys(cfg)):
        if reads_images or key != "dataset.root":
            raise UserError(f"{key} has no value: give it as {key}=...")
    _check_finite(cfg)
    dataset = cfg.dataset
    for name in cfg.attribute.names:
        if name not in dataset.attributes:
            raise UserError(
                f"attribute.names: the data set has no attribute {name!r}.{near(name, dataset.attributes)}"
            )
    for key, names in (
        ("dataset.classes", dataset.classes),
        ("dataset.attributes", dataset.attributes),
        ("attribute.names", cfg.attribute.names),
    ):
        if not names:
            raise UserError(f"{key} is empty: give at least one, {key}=[...].")
        if len(set(names)) < len(names):
            raise UserError(f"{key} names one twice: {list(names)}.")
    for name in (name for name in dataset.attributes if name in RESERVED or JOIN in name):
        means = RESERVED.get(name, f"{name.replace(JOIN, ' and ')} at once")
        raise UserError(
            f"dataset.attributes: {name!r} is a name that tables need for {means}. "
            "Give the attribute another name."
        )
    if not is_reference(dataset.layout):
        _one_of("dataset.layout", dataset.layout, LAYOUTS)
    for key, names in (
        ("attribute.methods", cfg.attribute.methods),
        ("metric.measures", cfg.metric.measures),
    ):
        for name in names:
            if not is_reference(name):
                raise UserError(f"{key}: {name!r} is no function of a plugin, expected my_module:function.")
        if len({name.split(":")[-1] for name in names}) < len(names):
            raise UserError(f"{key}: two functions of {list(names)} have one name.")
    _check_sweep(cfg)
    _check_edits(cfg)
    _check_inversion(cfg)
    _one_of("logger.name", cfg.logger.name, ("csv", "wandb", "tensorboard", "mlflow"))
    for net in cfg.metric.lpips:
        _one_of("metric.lpips", net, ("alex", "squeeze", "vgg"))
    for network in cfg.metric.features:
        _one_of("metric.features", network, FEATURE_NETWORKS)
    for method in cfg.metric.interpolations:
        _one_of("metric.interpolations", method, INTERPOLATIONS)
    _one_of("trainer.precision", cfg.trainer.precision, PRECISIONS)
    _one_of("trainer.accelerator", cfg.trainer.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
    _check_finetune(cfg)
    _check_classifier(cfg)
    for key, threshold in (
        ("metric.threshold", cfg.metric.threshold),
        ("timesteps.threshold", cfg.timesteps.threshold),
    ):
        if not 0 < threshold < 1:
            raise UserError(f"{key} is {threshold}, expected a probability between 0 and 1.")
    for key, seed in (("seed", cfg.seed), ("sampler.first_seed", cfg.sampler.first_seed)):
        if seed < 0:
            raise UserError(f"{key} is {seed}, expected 0 or more.")
    for key in ("val_fraction", "test_fraction"):
        if not 0 <= getattr(dataset, key) < 1:
            raise UserError(f"dataset.{key} is {getattr(dataset, key)}, expected a share in [0, 1).")
    positive = {
        "timesteps.num_inference_steps": cfg.timesteps.num_inference_steps,
        "sampler.seeds": cfg.sampler.seeds,
        "sampler.shard_seeds": cfg.sampler.shard_seeds,
        "finetune.max_steps": cfg.finetune.max_steps,
        "finetune.batch_size": cfg.finetune.batch_size,
        "finetune.accumulate": cfg.finetune.accumulate,
        "finetune.lora_rank": cfg.finetune.lora_rank,
        "finetune.ema_every": cfg.finetune.ema_every,
        "classifier.epochs": cfg.classifier.epochs,
        "classifier.batch_size": cfg.classifier.batch_size,
        "dataset.image_size": dataset.image_size,
        "metric.examples": cfg.metric.examples,
        "metric.resamples": cfg.metric.resamples,
        "trainer.devices": cfg.trainer.devices,
        "trainer.num_nodes": cfg.trainer.num_nodes,
    }
    for key, value in positive.items():
        if value < 1:
            raise UserError(f"{key} is {value}, expected 1 or more.")
    if cfg.metric.frames < 2:
        raise UserError(
            f"metric.frames is {cfg.metric.frames}, expected 2 or more: the neutral image and the strongest "
            "swap."
        )
    # Last, because it runs the code of the plugins: they fail here, not hours later.
    for setting, reference in references({key: OmegaConf.select(cast(Any, cfg), key) for key in SETTINGS}):
        load(setting, reference, cfg.plugins)


def _check_finite(node: Any, key: str = "") -> None:
    """Raise UserError for nan and inf anywhere in the configuration, because YAML accepts them as numbers."""
    from omegaconf import OmegaConf

    if OmegaConf.is_dict(node):
        for name in node:
            if not OmegaConf.is_missing(node, name):
                _check_finite(node[name], f"{key}.{name}".removeprefix("."))
    elif OmegaConf.is_list(node):
        for value in node:
            _check_finite(value, key)
    elif isinstance(node, float) and not math.isfinite(node):
        raise UserError(f"{key} is {node}, expected a finite number.")


def _check_finetune(cfg: Config) -> None:
    tune = cfg.finetune
    if not 0 <= tune.ema_decay < 1:
        raise UserError(f"finetune.ema_decay is {tune.ema_decay}, expected 0 (no average) to below 1.")
    if not 0 <= tune.caption_dropout <= 1:
        raise UserError(f"finetune.caption_dropout is {tune.caption_dropout}, expected a share in [0, 1].")
    for key in ("min_snr_gamma", "noise_offset"):
        if getattr(tune, key) < 0:
            raise UserError(f"finetune.{key} is {getattr(tune, key)}, expected 0 (off) or more.")


def _check_classifier(cfg: Config) -> None:
    settings = cfg.classifier
    _one_of("classifier.monitor", settings.monitor, ("loss", "auroc"))
    for key, highest in (("dropout", 1), ("color_jitter", 1), ("rotation", 180), ("blur", None)):
        if getattr(settings, key) < 0 or (highest is not None and getattr(settings, key) > highest):
            upwards = f"to {highest}" if highest else "or more"
            raise UserError(f"classifier.{key} is {getattr(settings, key)}, expected 0 {upwards}.")
    if settings.patience < 0:
        raise UserError(f"classifier.patience is {settings.patience}, expected epochs, or 0 to stop never.")
    if cfg.dataset.val_fraction == 0 and (settings.patience or settings.monitor != "loss"):
        raise UserError(
            "classifier.patience and classifier.monitor=auroc look at the validation split, and "
            "dataset.val_fraction is 0."
        )


def _check_sweep(cfg: Config) -> None:
    steps, sampler = cfg.timesteps, cfg.sampler
    n, late = steps.num_inference_steps, int(steps.one_step_late)
    for s in steps.swap_steps:
        if not 0 <= s <= n:
            raise UserError(
                f"timesteps.swap_steps: {s} lies outside 0..{n} (num_inference_steps). "
                "0 uses the target prompt from the start, N never."
            )
    for s in steps.swap_steps:
        if s + late >= n:
            raise UserError(
                f"timesteps.swap_steps: {s} swaps after the last step, which is the neutral image."
            )
    if not steps.swap_steps:
        raise UserError("timesteps.swap_steps is empty: give at least one step, timesteps.swap_steps=[...].")
    if len(set(steps.swap_steps)) != len(steps.swap_steps):
        raise UserError("timesteps.swap_steps names a step twice.")
    for window in steps.windows:
        if len(window) != 2 or not 0 <= window[0] < window[1] < n - late:
            raise UserError(
                f"timesteps.windows: {list(window)} is no window: expected [s, r] with 0 <= s < r < "
                f"{n - late}, in at s, back out at r."
            )
    if steps.checks < 0:
        raise UserError(f"timesteps.checks is {steps.checks}, expected 0 or more.")
    for s in cfg.metric.strong_swap_steps or []:
        if s not in steps.swap_steps:
            raise UserError(
                f"metric.strong_swap_steps: {s} is not among timesteps.swap_steps {list(steps.swap_steps)}."
            )
    _one_of("sampler.solver", sampler.solver, SOLVERS)
    _one_of("sampler.attention", sampler.attention, ATTENTION)
    if not 0 <= sampler.eta <= 1:
        raise UserError(
            f"sampler.eta is {sampler.eta}, expected 0 (deterministic) to 1 (as much noise as DDPM)."
        )
    if sampler.eta and sampler.solver != "ddim":
        raise UserError(
            f"sampler.eta is {sampler.eta}, but sampler.solver is {sampler.solver}: only ddim has it."
        )
    if sampler.batch_size != "auto" and (not isinstance(sampler.batch_size, int) or sampler.batch_size < 1):
        raise UserError(f"sampler.batch_size is {sampler.batch_size!r}, expected a number from 1, or auto.")
    if sampler.process is None or sampler.processes is None:
        if sampler.process is not sampler.processes:
            raise UserError("give sampler.process and sampler.processes both, or neither.")
    elif not 0 <= sampler.process < sampler.processes:
        raise UserError(
            f"sampler.process is {sampler.process}, expected 0..{sampler.processes - 1}: this one of "
            f"sampler.processes={sampler.processes}."
        )


def _check_edits(cfg: Config) -> None:
    attribute = cfg.attribute
    for names in attribute.combinations:
        for name in names:
            if name not in cfg.dataset.attributes:
                raise UserError(
                    f"attribute.combinations: the data set has no attribute {name!r}."
                    f"{near(name, cfg.dataset.attributes)}"
                )
        if len(set(names)) < 2 or len(set(names)) < len(names):
            raise UserError(f"attribute.combinations: {list(names)} should name two or more, each once.")
    if len({frozenset(names) for names in attribute.combinations}) < len(attribute.combinations):
        raise UserError("attribute.combinations names one twice.")
    if len(set(attribute.strengths)) < len(attribute.strengths):
        raise UserError(f"attribute.strengths names one twice: {list(attribute.strengths)}.")


def _check_inversion(cfg: Config) -> None:
    if cfg.inversion.method is None:
        return
    _one_of("inversion.method", cfg.inversion.method, ("ddpm", "ddim"))
    _one_of("inversion.split", cfg.inversion.split, ("train", "val", "test"))
    if cfg.sampler.solver != "ddim" or cfg.sampler.eta:
        raise UserError(
            f"inversion.method={cfg.inversion.method} brings its own noise: it needs sampler.solver=ddim "
            "and sampler.eta=0."
        )
    if cfg.inversion.iterations < 1:
        raise UserError(f"inversion.iterations is {cfg.inversion.iterations}, expected 1 or more.")
    if cfg.attribute.removal or cfg.timesteps.bisect:
        raise UserError(
            "inversion begins with the neutral prompt, on images without the attributes: neither "
            "attribute.removal nor timesteps.bisect goes with it."
        )


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key} is {value!r}.{near(value, choices)}")
