"""The typed schema of every command's configuration; `checks` holds the constraints across fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

FEATURE_NETWORKS = ("judge", "inception", "xrayvision")  # metric.features
LAYOUTS = ("isic2019", "chexpert", "image_table")  # dataset.layout
SOLVERS = ("ddim", "dpmpp_2m", "euler", "euler_ancestral")


class OnError(Enum):
    skip = "skip"  # leave out rows that cannot be used, unless they are most of the table
    skip_most = "skip_most"  # leave them out even then
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
    present: float = 0.9  # an artefact is present if its inferred probability is at least this ...
    absent: float = 0.1  # ... absent if it is at most this, and unknown in between


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
    """The phantoms that `latentpath phantom` draws into `dataset.root`; count is 0 for real data."""

    count: int = 0
    size: int = 64
    seed: int = 0


@dataclass
class DatasetConfig:
    layout: str = "isic2019"  # one of LAYOUTS, or the reader of a plugin: my_module:read
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
    names: list[str] = field(default_factory=list)  # the attributes to traverse, among dataset.attributes
    combinations: list[list[str]] = field(default_factory=list)  # several at once: [[hair, ruler]]
    removal: bool = False  # also edit from an image with the attribute to the neutral prompt
    strengths: list[float] = field(default_factory=list)  # weaker or stronger targets; 1 is the prompt itself
    strength_by: Strength = Strength.interpolate
    methods: list[str] = field(default_factory=list)  # further edit methods from plugins: [my_module:ramp]


@dataclass
class TimestepsConfig:
    num_inference_steps: int = 50
    swap_steps: list[int] = field(default_factory=lambda: list(range(5, 50, 5)))
    windows: list[list[int]] = field(default_factory=list)  # [[s, r]]: the target prompt in steps s..r-1
    one_step_late: bool = False  # as in the paper's released code: a swap at s takes effect from step s + 1
    bisect: bool = False  # search each trajectory's flip point with O(log K) of the swap_steps
    checks: int = 2  # additional probes per trajectory, to find a second flip
    threshold: float = 0.5  # bisect: present if the classifier's probability is above this


@dataclass
class InversionConfig:
    """Start from real images instead of noise: `sampler.seeds` of each class, without any attribute."""

    method: str | None = None  # ddpm (edit-friendly), ddim, or null to start from noise
    split: str = "test"
    guidance_scale: float = 1.0  # of DDIM inversion; DDPM inversion takes the sampler's
    iterations: int = 1  # of DDIM inversion: fixed-point iterations per step, of equal cost


@dataclass
class SamplerConfig:
    solver: str = "ddim"
    eta: float = 0.0
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    seeds: int = 16
    first_seed: int = 0
    batch_size: Any = 32  # rows per U-Net call, without guidance; auto: found by trying
    shard_seeds: int = 16  # seeds per shard; an interruption loses at most one shard
    channels_last: bool = True
    compile: bool = False  # compile the whole U-Net: minutes at first, faster afterwards
    attention: str = "default"  # default, flash, efficient, cudnn, math; auto: the fastest one
    process: int | None = None  # index of this process among ...
    processes: int | None = None  # ... this many; null: from torchrun or srun, else 0 of 1


@dataclass
class ModelConfig:
    name: str = "phantom-sd"  # "phantom-sd", a diffusers folder, or a hub id
    revision: str | None = None
    vae: str | None = None  # another VAE: folder or hub id of a VAE or of a pipeline
    prediction_type: Prediction | None = None  # null: that of the base model


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
    lr_decay: bool = False  # cosine decay to zero over max_steps
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    caption_dropout: float = 0.1
    min_snr_gamma: float = 0.0  # weights timesteps with little noise less; usually 5; 0: equal weights
    noise_offset: float = 0.0  # 0.05 to 0.1 lets the model make darker or brighter images
    ema_decay: float = 0.0  # decay of the average of the weights (EMA); 0: no average
    ema_every: int = 1  # steps between updates of the EMA, which then use ema_decay ** ema_every
    compile: bool = False  # compile the whole U-Net: minutes at first, faster afterwards
    channels_last: bool = True
    gradient_checkpointing: bool = False  # less memory, about a third more time
    sample_every: int = 0  # steps between sample grids; 0: only one at the end
    checkpoint_every: int = 200
    log_every: int = 10


@dataclass
class ClassifierConfig:
    arch: str = "efficientnet_b0"  # a timm name, efficientnet_tiny, resnet_micro or my_module:build
    pretrained: bool = True
    epochs: int = 10  # at most
    patience: int = 0  # stop after this many epochs without improvement; 0: never
    monitor: str = "loss"  # selects the best epoch on the validation split: loss, or auroc (mean over labels)
    batch_size: int = 64
    lr: float = 1e-4
    weight_decay: float = 1e-2
    dropout: float = 0.3
    horizontal_flip: bool = True
    vertical_flip: bool = True
    rotation: float = 0.0  # degrees: rotate by at most this much in either direction
    color_jitter: float = 0.0  # brightness, contrast, saturation: factors in 1 +- this
    blur: float = 0.0  # pixels: blur half of the training images by a sigma up to this
    class_weights: bool = True
    calibrate: bool = True  # fit one temperature per head on the validation split


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
    name: str = "csv"  # csv is always on; wandb, tensorboard or mlflow in addition
    project: str = "latentpath"
    images: bool = False  # send images to wandb and TensorBoard; a model can memorise a patient


@dataclass
class MetricConfig:
    lpips: list[str] = field(default_factory=lambda: ["alex"])
    features: list[str] = field(default_factory=lambda: ["judge"])  # for FID: FEATURE_NETWORKS
    measures: list[str] = field(default_factory=list)  # further distances from plugins: [my_module:blur]
    interpolations: list[str] = field(default_factory=lambda: ["bezier", "slerp", "lerp"])
    frames: int = 10
    arc_length: bool = False  # space frames evenly along the curve, not in t
    strong_swap_steps: list[int] | None = None  # null: the strongest third of the swap steps
    threshold: float = 0.5
    resamples: int = 2000  # random draws of tests and bootstraps; intervals over seeds need none
    tsne: bool = True
    examples: int = 16  # seeds whose images are kept for the report
    against_data: bool = True  # compare with held-out and training images; reads dataset.root
    compare_base: bool = True  # also sample the base model, to see what fine-tuning changed


@dataclass
class Config:
    name: str = "unnamed"
    output_dir: str = "outputs"
    seed: int = 0
    overwrite: bool = False  # discard a stage that was made with another configuration
    from_run: str | None = None  # run whose complete stages are reused if this run has none
    weights_dir: str | None = None  # folder of `latentpath fetch`; null: LATENTPATH_WEIGHTS, else the hub
    plugins: list[str] = field(default_factory=list)  # your own modules; settings may name their functions
    dry_run: bool = False  # traverse: print the cost and exit
    figures: str | None = None  # report: also write every chart as svg, pdf or png
    compare: list[str] = field(default_factory=list)  # report: compare these runs of output_dir on one page
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
    """Return the folder of the config groups: inside an installed wheel, or at the top of a checkout."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"
