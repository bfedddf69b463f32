"""The schema of every command's configuration, and the checks that a type alone cannot make."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from latentpath.errors import UserError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")
SOLVERS = ("ddim", "dpmpp_2m", "euler", "euler_ancestral")
ATTENTION = ("default", "auto", "flash", "efficient", "cudnn", "math")
COMMANDS = ("phantom", "finetune", "classify", "traverse", "evaluate", "report", "run", "info", "fetch")


class Layout(Enum):
    isic2019 = "isic2019"
    chexpert = "chexpert"
    image_table = "image_table"


class OnError(Enum):
    skip = "skip"
    fail = "fail"


class Resize(Enum):
    squash = "squash"
    crop = "crop"


class Artefacts(Enum):
    inferred = "inferred"
    manual = "manual"


class Uncertain(Enum):
    ones = "ones"
    zeros = "zeros"
    ignore = "ignore"


class Trainable(Enum):
    full = "full"
    attention = "attention"  # the projections of self- and cross-attention
    lora = "lora"


class Strength(Enum):
    interpolate = "interpolate"  # e + strength (e' - e)
    scale = "scale"  # strength e'


class Prediction(Enum):
    epsilon = "epsilon"
    v_prediction = "v_prediction"


@dataclass
class CaptionsConfig:
    with_attributes: str = "an image of {cls} showing {attributes}"
    without_attributes: str = "an image of {cls}"
    class_names: dict[str, str] = field(default_factory=dict)
    attribute_names: dict[str, str] = field(default_factory=dict)


@dataclass
class IsicConfig:
    artefacts: Artefacts = Artefacts.inferred
    threshold: float = 0.6  # of the inferred probabilities


@dataclass
class ChexpertConfig:
    uncertain: Uncertain = Uncertain.ignore
    frontal_only: bool = True
    labels_csv: str = "train.csv"


@dataclass
class TableConfig:
    file: str = "labels.csv"
    images_dir: str = "images"
    path_column: str = "image"
    class_column: str | None = None
    group_column: str | None = None


@dataclass
class PhantomConfig:
    """What `latentpath phantom` draws into `dataset.root`; 0 images: the data set is not a phantom."""

    count: int = 0
    size: int = 64
    seed: int = 0


@dataclass
class DatasetConfig:
    layout: Layout = Layout.isic2019
    root: str = "???"
    classes: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)
    image_size: int = 64
    resize: Resize = Resize.squash
    on_error: OnError = OnError.skip
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_salt: str = "latentpath"
    limit: int | None = None
    isic: IsicConfig = field(default_factory=IsicConfig)
    chexpert: ChexpertConfig = field(default_factory=ChexpertConfig)
    table: TableConfig = field(default_factory=TableConfig)
    phantom: PhantomConfig = field(default_factory=PhantomConfig)


@dataclass
class AttributeConfig:
    names: list[str] = field(default_factory=list)  # of dataset.attributes, the ones to traverse
    combinations: list[list[str]] = field(default_factory=list)  # several at once: [[hair, ruler]]
    removal: bool = False  # also from an image with the attribute to the neutral prompt
    strengths: list[float] = field(default_factory=list)  # targets weaker or stronger than their prompt (1)
    strength_by: Strength = Strength.interpolate


@dataclass
class TimestepsConfig:
    num_inference_steps: int = 50
    swap_steps: list[int] = field(default_factory=lambda: list(range(5, 50, 5)))
    windows: list[list[int]] = field(default_factory=list)  # [[s, r]]: in at s, back out at r
    one_step_late: bool = False  # as the paper's released code: a swap "at s" acts from step s + 1
    bisect: bool = False  # of swap_steps probe O(log K) a trajectory: where does the classifier turn?
    checks: int = 2  # further probes a trajectory, which look for a second turn
    threshold: float = 0.5  # of the classifier's probability, where bisect looks for the turn


@dataclass
class InversionConfig:
    """Real images in the place of noise: `sampler.seeds` of each class, none of the attributes present."""

    method: str | None = None  # ddpm (edit-friendly), ddim, or null: from noise
    split: str = "test"
    guidance_scale: float = 1.0  # of DDIM inversion; DDPM inversion takes the sampler's
    iterations: int = 1  # of DDIM inversion: more fixed-point rounds a step, each as dear as the first


@dataclass
class SamplerConfig:
    solver: str = "ddim"
    eta: float = 0.0
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    seeds: int = 16
    first_seed: int = 0
    batch_size: Any = 32  # rows that the U-Net sees at once, guidance not counted; auto: found by trying
    shard_seeds: int = 16  # seeds in a shard: what a kill can lose
    channels_last: bool = True
    compile: bool = False  # the U-Net, whole: minutes at first, faster after
    attention: str = "default"  # flash, efficient, cudnn, math; auto: the fastest, measured
    process: int | None = None  # this one of ...
    processes: int | None = None  # ... so many; null: as torchrun or srun say, else 0 of 1


@dataclass
class ModelConfig:
    name: str = "phantom-sd"  # "phantom-sd", a diffusers folder, or a hub id
    revision: str | None = None
    vae: str | None = None  # another VAE: a folder or hub id of its own, or a pipeline's
    prediction_type: Prediction | None = None  # null: as the base has it


@dataclass
class FinetuneConfig:
    trainable: Trainable = Trainable.full
    lora_rank: int = 8
    lora_alpha: int = 8
    max_steps: int = 500
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-4
    warmup_steps: int = 0
    lr_decay: bool = False  # cosine to zero over max_steps
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    caption_dropout: float = 0.1
    min_snr_gamma: float = 0.0  # 5 is usual: steps of little noise count less; 0: all the same
    noise_offset: float = 0.0  # 0.05 to 0.1: images may be darker or brighter as a whole
    ema_decay: float = 0.0  # 0: no average of the weights
    ema_every: int = 1  # steps between updates of the average, of which decay is then a power
    compile: bool = False  # the U-Net, whole: minutes at first, faster after
    channels_last: bool = False
    gradient_checkpointing: bool = False  # less memory, a third more time
    sample_every: int = 0  # steps between sample grids; 0: only one at the end
    checkpoint_every: int = 200
    log_every: int = 10


@dataclass
class ClassifierConfig:
    arch: str = "efficientnet_b0"  # a timm name, "efficientnet_tiny" or "resnet_micro"
    pretrained: bool = True
    epochs: int = 10  # at most
    patience: int = 0  # epochs without a better one, after which it stops; 0: never
    monitor: str = (
        "loss"  # what makes an epoch the best, on validation: loss, or auroc (its mean over labels)
    )
    batch_size: int = 64
    lr: float = 1e-4
    weight_decay: float = 1e-2
    dropout: float = 0.3
    horizontal_flip: bool = True
    vertical_flip: bool = True
    rotation: float = 0.0  # degrees, at most so much to either side
    color_jitter: float = 0.0  # brightness, contrast and saturation, each by a factor in 1 +- this
    blur: float = 0.0  # pixels: half of the training images blurred by up to this sigma
    class_weights: bool = True
    calibrate: bool = True  # one temperature per head, fitted on the validation split


@dataclass
class TrainerConfig:
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    num_workers: int = 0


@dataclass
class LoggerConfig:
    name: str = "csv"  # csv always; "wandb", "tensorboard" or "mlflow" besides
    project: str = "latentpath"
    images: bool = False  # sample grids to wandb (a table) and TensorBoard; a model can remember a patient


@dataclass
class MetricConfig:
    lpips: list[str] = field(default_factory=lambda: ["alex"])
    interpolations: list[str] = field(default_factory=lambda: ["bezier", "slerp", "lerp"])
    frames: int = 10
    arc_length: bool = False  # frames equally far apart along the curve, not in its parameter
    strong_swap_steps: list[int] | None = None  # null: the strongest third
    threshold: float = 0.5
    resamples: int = 2000  # of the seeds, for 95 % intervals
    tsne: bool = True
    examples: int = 4  # seeds whose images are kept for the report
    against_data: bool = True  # likeness to held-out images, copies of training images; reads dataset.root
    compare_base: bool = True  # sample the base too: is it the fine-tune that does the work?


@dataclass
class Config:
    name: str = "unnamed"
    output_dir: str = "outputs"
    seed: int = 0
    overwrite: bool = False  # discard a stage that was made with another configuration
    from_run: str | None = None  # name of a run whose stages are read where this one has none of its own
    weights_dir: str | None = None  # of `latentpath fetch`; null: LATENTPATH_WEIGHTS, else the hub
    dry_run: bool = False  # traverse: say what it would cost, and stop
    figures: str | None = None  # report: also every chart as a file; svg, pdf or png
    compare: list[str] = field(default_factory=list)  # report: these runs of output_dir on one page
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    attribute: AttributeConfig = field(default_factory=AttributeConfig)
    timesteps: TimestepsConfig = field(default_factory=TimestepsConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)


def conf_dir() -> Path:
    """The config groups: packaged beside this file in an installed wheel, at the top of a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def near(word: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the nearest of `choices`, else their list."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Choose from: {', '.join(choices)}."


def check(cfg: Any, *, reads_images: bool = True) -> None:
    """Raise UserError for what is well typed but cannot be: names and ranges across groups, `???` left over.

    `reads_images`: does the command read the data set? The others do without its root.
    """
    from omegaconf import OmegaConf

    for key in sorted(OmegaConf.missing_keys(cfg)):
        if reads_images or key != "dataset.root":
            raise UserError(f"{key} has no value: give it as {key}=...")
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
    _check_sweep(cfg)
    _one_of("logger.name", cfg.logger.name, ("csv", "wandb", "tensorboard", "mlflow"))
    for net in cfg.metric.lpips:
        _one_of("metric.lpips", net, ("alex", "squeeze", "vgg"))
    for method in cfg.metric.interpolations:
        _one_of("metric.interpolations", method, ("bezier", "cubic", "slerp", "lerp"))
    _one_of("trainer.precision", cfg.trainer.precision, PRECISIONS)
    _one_of("trainer.accelerator", cfg.trainer.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
    _check_classifier(cfg)
    if not 0 <= cfg.finetune.ema_decay < 1:
        raise UserError(
            f"finetune.ema_decay is {cfg.finetune.ema_decay}, expected 0 (no average) to below 1."
        )
    if not 0 < cfg.metric.threshold < 1:
        raise UserError(
            f"metric.threshold is {cfg.metric.threshold}, expected a probability between 0 and 1."
        )
    for key, seed in (("seed", cfg.seed), ("sampler.first_seed", cfg.sampler.first_seed)):
        if seed < 0:
            raise UserError(f"{key} is {seed}, expected 0 or more.")
    for key in ("val_fraction", "test_fraction"):
        if not 0 <= dataset[key] < 1:
            raise UserError(f"dataset.{key} is {dataset[key]}, expected a share in [0, 1).")
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
        "metric.frames": cfg.metric.frames - 1,
        "metric.examples": cfg.metric.examples,
        "trainer.devices": cfg.trainer.devices,
    }
    for key, value in positive.items():
        if value < 1:
            raise UserError(f"{key} is too small.")


def _check_classifier(cfg: Any) -> None:
    settings = cfg.classifier
    _one_of("classifier.monitor", settings.monitor, ("loss", "auroc"))
    for key, highest in (("dropout", 1), ("color_jitter", 1), ("rotation", 180), ("blur", None)):
        if settings[key] < 0 or (highest is not None and settings[key] > highest):
            upwards = f"to {highest}" if highest else "or more"
            raise UserError(f"classifier.{key} is {settings[key]}, expected 0 {upwards}.")
    if settings.patience < 0:
        raise UserError(f"classifier.patience is {settings.patience}, expected epochs, or 0 to stop never.")
    if cfg.dataset.val_fraction == 0 and (settings.patience or settings.monitor != "loss"):
        raise UserError(
            "classifier.patience and classifier.monitor=auroc look at the validation split, and "
            "dataset.val_fraction is 0."
        )


def _check_sweep(cfg: Any) -> None:
    steps, sampler, attribute = cfg.timesteps, cfg.sampler, cfg.attribute
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
    if (sampler.process is None) != (sampler.processes is None):
        raise UserError("give sampler.process and sampler.processes both, or neither.")
    if sampler.processes is not None and not 0 <= sampler.process < sampler.processes:
        raise UserError(
            f"sampler.process is {sampler.process}, expected 0..{sampler.processes - 1}: this one of "
            f"sampler.processes={sampler.processes}."
        )
    if cfg.inversion.method is not None:
        _one_of("inversion.method", cfg.inversion.method, ("ddpm", "ddim"))
        _one_of("inversion.split", cfg.inversion.split, ("train", "val", "test"))
        if sampler.solver != "ddim" or sampler.eta:
            raise UserError(
                f"inversion.method={cfg.inversion.method} brings its own noise: it needs sampler.solver=ddim "
                "and sampler.eta=0."
            )
        if cfg.inversion.iterations < 1:
            raise UserError(f"inversion.iterations is {cfg.inversion.iterations}, expected 1 or more.")
        if attribute.removal or steps.bisect:
            raise UserError(
                "inversion begins with the neutral prompt, on images without the attributes: neither "
                "attribute.removal nor timesteps.bisect goes with it."
            )


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key} is {value!r}.{near(value, choices)}")
