"""The schema of every command's configuration; what a type cannot say is in `checks`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

FEATURE_NETWORKS = ("judge", "inception", "xrayvision")  # metric.features
LAYOUTS = ("isic2019", "chexpert", "image_table")  # dataset.layout
SOLVERS = ("ddim", "dpmpp_2m", "euler", "euler_ancestral")


class OnError(Enum):
    skip = "skip"  # what cannot be used, unless it is most of a table
    skip_most = "skip_most"  # even then
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
    present: float = 0.9  # inferred probability from which an artefact counts as present ...
    absent: float = 0.1  # ... and up to which as absent; between them it is not known


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
    names: list[str] = field(default_factory=list)  # of dataset.attributes, the ones to traverse
    combinations: list[list[str]] = field(default_factory=list)  # several at once: [[hair, ruler]]
    removal: bool = False  # also from an image with the attribute to the neutral prompt
    strengths: list[float] = field(default_factory=list)  # targets weaker or stronger than their prompt (1)
    strength_by: Strength = Strength.interpolate
    methods: list[str] = field(default_factory=list)  # further ways to edit, of plugins: [my_module:ramp]


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
    channels_last: bool = True
    gradient_checkpointing: bool = False  # less memory, a third more time
    sample_every: int = 0  # steps between sample grids; 0: only one at the end
    checkpoint_every: int = 200
    log_every: int = 10


@dataclass
class ClassifierConfig:
    arch: str = "efficientnet_b0"  # of timm, efficientnet_tiny, resnet_micro, or of a plugin: my_module:build
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
    images: bool = False  # grids and examples to wandb and TensorBoard; a model can remember a patient


@dataclass
class MetricConfig:
    lpips: list[str] = field(default_factory=lambda: ["alex"])
    features: list[str] = field(default_factory=lambda: ["judge"])  # FID by: judge, inception, xrayvision
    measures: list[str] = field(default_factory=list)  # further distances, of plugins: [my_module:blur]
    interpolations: list[str] = field(default_factory=lambda: ["bezier", "slerp", "lerp"])
    frames: int = 10
    arc_length: bool = False  # frames equally far apart along the curve, not in its parameter
    strong_swap_steps: list[int] | None = None  # null: the strongest third
    threshold: float = 0.5
    resamples: int = 2000  # random draws of tests and bootstraps; intervals over seeds need none
    tsne: bool = True
    examples: int = 16  # seeds whose images are kept for the report
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
    plugins: list[str] = field(default_factory=list)  # your own modules whose functions settings may name
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
    """The config groups: packaged beside the modules in an installed wheel, at the top of a checkout."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"
