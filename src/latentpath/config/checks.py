"""Checks settings that must agree with each other, which no field can check alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from typing import cast

from latentpath.config.check_methods import check_methods
from latentpath.config.choices import Trained
from latentpath.config.fields import check_fields
from latentpath.config.methods import MethodsConfig
from latentpath.config.names import check_label, check_place, check_run_name
from latentpath.config.overrides import has_no_value
from latentpath.config.plugins import SETTINGS, is_reference, load, references
from latentpath.config.schema import Config
from latentpath.config.templates import check_captions
from latentpath.errors import UserError, near
from latentpath.keys import INTERPOLATIONS, JOIN, METHODS, RESERVED


def check(cfg: Config, *, reads_images: Callable[[Config], bool] = lambda _: True) -> None:
    """Raise UserError for a value out of bounds, for values that contradict each other, and for `???`.

    reads_images: whether the command reads the data set; other commands do not need dataset.root.
    """
    from omegaconf import DictConfig, OmegaConf

    missing = sorted(OmegaConf.missing_keys(cfg), key=lambda key: key == "dataset.root")  # that one last
    for key in missing:
        if key != "dataset.root" or reads_images(cfg):
            raise UserError(has_no_value(key))
    check_fields(Config, cfg)
    check_run_name("name", cfg.name)
    for key, run in (("from_run", cfg.from_run), *(("compare", run) for run in cfg.compare)):
        if run is not None:
            check_run_name(key, run)
    if len(cfg.compare) == 1:
        raise UserError(f"compare names 1 run: give two or more, compare=[{cfg.compare[0]},other].")
    _check_once("compare", cfg.compare)
    check_place("model.name", cfg.model.name)
    if reads_images(cfg):
        check_place("dataset.root", cfg.dataset.root)
    dataset = cfg.dataset
    labels = {"dataset.classes": dataset.classes, "dataset.attributes": dataset.attributes}
    for key, names in (labels | {"attribute.names": cfg.attribute.names}).items():
        if not names:
            raise UserError(f"{key} is empty: give at least one, {key}=[...].")
        for name in names:
            check_label(key, name)
        _check_once(key, names)
    check_captions(dataset.captions.with_attributes, dataset.captions.without_attributes, dataset.classes)
    _check_attributes(cfg, "attribute.names", cfg.attribute.names)
    _check_attributes(cfg, "sliders.attributes", cfg.sliders.attributes)
    if dataset.val_fraction + dataset.test_fraction >= 1:
        raise UserError(
            f"dataset.val_fraction {dataset.val_fraction} and dataset.test_fraction {dataset.test_fraction}: "
            "both together leave no training images, expected a sum below 1."
        )
    if dataset.isic.absent >= dataset.isic.present:
        raise UserError(
            f"dataset.isic.absent is {dataset.isic.absent} and dataset.isic.present {dataset.isic.present}: "
            "expected absent < present."
        )
    for name in (name for name in dataset.attributes if name in RESERVED or JOIN in name):
        means = RESERVED.get(name, f"{name.replace(JOIN, ' and ')} at once")
        raise UserError(
            f"dataset.attributes: {name!r} is a name that tables need for {means}. "
            "Give the attribute another name."
        )
    plugged = {"attribute.methods": cfg.attribute.methods, "metric.measures": cfg.metric.measures}
    for key, names in plugged.items():
        for name in names:
            if not is_reference(name):
                raise UserError(
                    f"{key}: {name!r} is not a function of a plugin, expected my_module:function."
                )
            taken = (*METHODS, *INTERPOLATIONS, *(f.name for f in fields(MethodsConfig)))
            if (own := name.partition(":")[2]) in taken and key == "attribute.methods":
                raise UserError(f"{key}: {own!r} is a method of latentpath; give {name} another name.")
        if len({name.split(":")[-1] for name in names}) < len(names):
            raise UserError(
                f"{key}: two functions of {list(names)} have the same name, by which tables tell them apart. "
                "Rename one."
            )
    _check_sweep(cfg)
    _check_edits(cfg)
    check_methods(cfg)
    _check_inversion(cfg)
    _check_classifier(cfg)
    _check_finetune(cfg)
    # Last, because it runs the code of the plugins: they fail here, not hours later.
    for setting, reference in references(
        {key: OmegaConf.select(cast(DictConfig, cfg), key) for key in SETTINGS}
    ):
        load(setting, reference, cfg.plugins)


def _check_attributes(cfg: Config, key: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in (known := cfg.dataset.attributes):
            raise UserError(f"{key}: the data set has no attribute {name!r}.{near(name, known)}")


def _check_once(key: str, values: Sequence[Hashable]) -> None:
    if len(set(values)) < len(values):
        raise UserError(f"{key} is {list(values)}: expected each entry once.")


def _check_classifier(cfg: Config) -> None:
    settings = cfg.classifier
    if settings.through_vae and settings.trainable is not Trained.head:
        raise UserError(
            "classifier.through_vae fits the last layer on images after the VAE: it needs "
            "classifier.trainable=head."
        )
    if settings.folds == 1 or (settings.folds and settings.trainable is not Trained.head):
        raise UserError(
            f"classifier.folds={settings.folds}: cross-validation takes two folds or more, and "
            "classifier.trainable=head, whose last layer is fitted in seconds."
        )
    if cfg.dataset.val_fraction == 0 and (settings.patience or settings.monitor != "loss"):
        raise UserError(
            "classifier.patience and classifier.monitor=auroc need a validation split, but "
            "dataset.val_fraction is 0. Raise it, such as dataset.val_fraction=0.1."
        )


def _check_finetune(cfg: Config) -> None:
    settings, every = cfg.finetune, cfg.finetune.val_every_steps
    if settings.patience and not settings.monitor:
        raise UserError(
            "finetune.patience needs finetune.monitor: loss, or loss_ema of the averaged weights."
        )
    if not settings.monitor:
        return
    if cfg.dataset.val_fraction == 0:
        raise UserError(
            "finetune.monitor needs a validation split, but dataset.val_fraction is 0. Raise it, such as "
            "dataset.val_fraction=0.1."
        )
    if settings.monitor == "loss_ema" and settings.ema_decay == 0:
        raise UserError(
            "finetune.monitor=loss_ema is the loss of averaged weights, but finetune.ema_decay is 0: nothing "
            "is averaged. Give finetune.ema_decay=0.995, or finetune.monitor=loss."
        )
    if every != "auto" and not 0 < int(every) <= settings.max_steps:
        raise UserError(
            f"finetune.monitor={settings.monitor} needs a validation, but finetune.val_every_steps={every} "
            f"makes none in finetune.max_steps={settings.max_steps}. Give val_every_steps=auto."
        )


def _check_sweep(cfg: Config) -> None:
    steps, sampler = cfg.timesteps, cfg.sampler
    n, late = steps.num_inference_steps, int(steps.one_step_late)
    for s in sorted(steps.swap_steps, reverse=True):
        if s > n:
            raise UserError(
                f"timesteps.swap_steps: {s} lies outside 0..{n} (num_inference_steps). "
                "0 uses the target prompt from the start, N never."
            )
        if s + late >= n:
            raise UserError(
                f"timesteps.swap_steps: {s} swaps after the last step, which gives the neutral image again. "
                f"Expected 0..{n - late - 1}."
            )
    if not steps.swap_steps:
        raise UserError("timesteps.swap_steps is empty: give at least one step, timesteps.swap_steps=[...].")
    _check_once("timesteps.swap_steps", steps.swap_steps)
    for window in steps.windows:
        if len(window) != 2 or not window[0] < window[1] < n - late:
            raise UserError(
                f"timesteps.windows: {list(window)} is no window: expected [s, r] with 0 <= s < r < "
                f"{n - late}, which uses the target prompt in steps s..r-1."
            )
    for s in cfg.metric.strong_swap_steps or []:
        if s not in steps.swap_steps:
            raise UserError(
                f"metric.strong_swap_steps: {s} is not among timesteps.swap_steps {list(steps.swap_steps)}."
            )
    if sampler.eta and sampler.solver != "ddim":
        raise UserError(
            f"sampler.eta is {sampler.eta}, but sampler.solver is {sampler.solver}: only ddim has it."
        )
    if sampler.process is None or sampler.processes is None:
        if sampler.process is not sampler.processes:
            raise UserError("give both sampler.process and sampler.processes, or neither.")
    elif sampler.process >= sampler.processes:
        raise UserError(
            f"sampler.process is {sampler.process}, expected 0..{sampler.processes - 1}, because "
            f"sampler.processes is {sampler.processes}."
        )


def _check_edits(cfg: Config) -> None:
    attribute = cfg.attribute
    for key, groups in (("combinations", attribute.combinations), ("orders", attribute.orders)):
        for names in groups:
            _check_attributes(cfg, f"attribute.{key}", names)
            many, wrong = "two or more", len(names) < 2
            if key == "orders":
                many, wrong = "two", len(names) != 2
            if wrong or len(set(names)) < len(names):
                raise UserError(f"attribute.{key}: {list(names)} should name {many}, each once.")
        pairs = [JOIN.join(sorted(names)) for names in groups]
        if twice := [pair for pair in pairs if pairs.count(pair) > 1]:
            both = " One entry is edited in both orders." if key == "orders" else ""
            names = " and ".join(twice[0].split(JOIN))
            raise UserError(f"attribute.{key} has {names} in two entries, expected one.{both}")
    if attribute.orders and not cfg.timesteps.windows:
        raise UserError(
            "attribute.orders asks for one attribute in a window of steps and for both afterwards: give "
            "timesteps.windows too, such as [[5,15]]."
        )
    _check_once("attribute.strengths", attribute.strengths)


def _check_inversion(cfg: Config) -> None:
    if cfg.inversion.method is None:
        if cfg.inversion.rounds > 1:
            raise UserError(
                f"inversion.rounds is {cfg.inversion.rounds}, but the sweep starts from noise and inverts no "
                "image: give inversion=ddim or inversion=ddpm too, or leave it out."
            )
        return
    share = {"val": cfg.dataset.val_fraction, "test": cfg.dataset.test_fraction}
    if share.get(split := cfg.inversion.split, 1) == 0:
        raise UserError(
            f"inversion.split is {split}, and dataset.{split}_fraction is 0: this split has no images. Give "
            "another split or another fraction."
        )
    if cfg.sampler.solver != "ddim" or cfg.sampler.eta:
        raise UserError(
            f"inversion.method={cfg.inversion.method} sets the noise of each step itself, so it needs "
            f"sampler.solver=ddim and sampler.eta=0; they are {cfg.sampler.solver} and {cfg.sampler.eta:g}."
        )
    if cfg.attribute.removal or cfg.timesteps.bisect:
        raise UserError(
            "an inversion starts from real images that show none of the attributes, so attribute.removal and "
            "timesteps.bisect do not go with it. Leave them out, or leave out the inversion."
        )
