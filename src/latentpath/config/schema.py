"""The typed schema of every command's configuration; `checks` holds the constraints across fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latentpath.config.choices import (
    ATTENTION,
    FIGURE_FORMATS,
    LAYOUTS,
    LPIPS_NETS,
    MOST_SAMPLE_SEED,
    MOST_SEED,
    MOST_STEPS,
    SOLVERS,
    SPLITS,
    TRACKERS,
    Artefacts,
    OnError,
    Prediction,
    Resize,
    Strength,
    Uncertain,
)
from latentpath.config.fields import choice, number
from latentpath.config.methods import MethodsConfig
from latentpath.config.training import ClassifierConfig, FinetuneConfig, SlidersConfig, TrainerConfig
from latentpath.keys import INTERPOLATIONS


@dataclass
class CaptionsConfig:
    """Templates of the captions that fine-tuning and the sweep use."""

    # caption of an image that shows attributes
    with_attributes: str = "an image of {cls} showing {attributes}"
    without_attributes: str = "an image of {cls}"  # ... and of one that shows none
    class_names: dict[str, str] = field(default_factory=dict)  # class: its words in captions
    attribute_names: dict[str, str] = field(default_factory=dict)  # likewise


@dataclass
class IsicConfig:
    """Settings of `dataset.layout=isic2019`: where the labels of artefacts come from."""

    artefacts: Artefacts = Artefacts.inferred  # table of artefacts: inferred by a model, or by hand
    # An artefact is present if its inferred probability is at least this ...
    present: float = number(0.9, low=0, high=1)
    absent: float = number(0.1, low=0, high=1)  # ... absent if it is at most this, and unknown in between


@dataclass
class ChexpertConfig:
    """Settings of `dataset.layout=chexpert`: which labels and views are used."""

    uncertain: Uncertain = Uncertain.ignore  # labels of -1 become present, absent, or unknown
    frontal_only: bool = True  # leave lateral views out
    labels_csv: str = "train.csv"  # in root


@dataclass
class TableConfig:
    """Settings of `dataset.layout=image_table`: the table of your own images and its columns."""

    file: str = "labels.csv"  # in root
    images_dir: str = "images"  # in root; . if the paths start at root
    path_column: str = "image"  # file names in images_dir
    class_column: str | None = None  # null: all images belong to the one class
    group_column: str | None = None  # patient or lesion; null: each image alone


@dataclass
class PhantomConfig:
    """The phantoms that `latentpath phantom` draws into `dataset.root`; count is 0 for real data."""

    count: int = number(0, low=0, high=10_000_000)  # images; 0: real data
    size: int = number(64, low=16, high=4096)  # pixels a side
    seed: int = number(0, low=0, high=MOST_SEED)  # another seed draws other phantoms


@dataclass
class DatasetConfig:
    """The images, their labels and captions, and how they are split."""

    # One of LAYOUTS, or the reader of a plugin: my_module:read.
    layout: str = choice("isic2019", LAYOUTS, functions=True)
    root: str = "???"  # the folder of the data set
    classes: list[str] = field(default_factory=list)  # one class name or several; each image belongs to one
    attributes: list[str] = field(default_factory=list)  # what an image may show, one 0/1 column each
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)
    image_size: int = number(64, low=8, high=4096)  # pixels a side, for the U-Net and the judge
    resize: Resize = Resize.squash  # squash ignores the aspect ratio, crop takes the central square
    on_error: OnError = OnError.skip  # what to do with rows that cannot be used
    val_fraction: float = number(0.1, low=0, below=1)  # share of groups
    test_fraction: float = number(0.2, low=0, below=1)  # share of groups
    # Share of training groups that the judge alone trains on and the fine-tune never sees; 0: both on all.
    judge_fraction: float = number(0.0, low=0, below=1, zero="both train on all")
    stratify: bool = False  # give each split its share of each label; new images may then move others
    split_salt: str = "latentpath"  # another value gives another split
    limit: int | None = number(None, low=1, high=1_000_000_000)  # use only this many images; null: all
    isic: IsicConfig = field(default_factory=IsicConfig)
    chexpert: ChexpertConfig = field(default_factory=ChexpertConfig)
    table: TableConfig = field(default_factory=TableConfig)
    phantom: PhantomConfig = field(default_factory=PhantomConfig)


@dataclass
class AttributeConfig:
    """The attributes to edit, and which edits besides the plain swap the sweep makes."""

    names: list[str] = field(default_factory=list)  # the attributes to traverse, among dataset.attributes
    combinations: list[list[str]] = field(default_factory=list)  # several at once: [[hair, ruler]]
    # Pairs to edit one after the other, in both orders: the first attribute in a window, then both.
    orders: list[list[str]] = field(default_factory=list)
    removal: bool = False  # also edit from an image with the attribute to the neutral prompt
    # Weaker or stronger targets; 1 is the prompt itself.
    strengths: list[float] = number([], low=-100, high=100)
    strength_by: Strength = Strength.interpolate  # blend from neutral to target, or multiply the target
    methods: list[str] = field(default_factory=list)  # further edit methods from plugins: [my_module:ramp]
    dials: dict[str, list[float]] = number({}, low=-1000, high=1000)  # of those methods: {ramp: [0.5, 1]}


@dataclass
class TimestepsConfig:
    """The steps of the reverse diffusion, and those at which the prompt is swapped."""

    num_inference_steps: int = number(50, low=1, high=MOST_STEPS)  # steps of the reverse diffusion, N
    # first steps with the target prompt; 0: strongest edit
    swap_steps: list[int] = number(list(range(5, 50, 5)), low=0, high=MOST_STEPS)
    # [[s, r]]: the target prompt in steps s..r-1.
    windows: list[list[int]] = number([], low=0, high=MOST_STEPS)
    one_step_late: bool = False  # as in the paper's released code: a swap at s takes effect from step s + 1
    bisect: bool = False  # search each trajectory's flip point with O(log K) of the swap_steps
    checks: int = number(2, low=0, high=MOST_STEPS)  # additional probes per trajectory, to find a second flip
    # bisect: present if the classifier's probability is above this.
    threshold: float = number(0.5, above=0, below=1)


@dataclass
class InversionConfig:
    """Start from real images instead of noise: `sampler.seeds` of each class, without any attribute."""

    method: str | None = choice(None, ("ddpm", "ddim"))  # ddpm is edit-friendly; null: start from noise
    split: str = choice("test", SPLITS)  # which images to start from
    # Guidance of DDIM inversion; DDPM inversion uses that of the sampler.
    guidance_scale: float = number(1.0, low=0, high=1000)
    # Times that each image is inverted and sampled again without an edit; 1 is the traversal's own.
    rounds: int = number(1, low=1, high=100)
    # Of DDIM inversion: fixed-point iterations per step; each costs as much as the first.
    iterations: int = number(1, low=1, high=1000)


@dataclass
class SamplerConfig:
    """How images are sampled: solver, guidance, seeds, and how the U-Net is run."""

    solver: str = choice("ddim", SOLVERS)  # how a step of the reverse diffusion is computed
    eta: float = number(0.0, low=0, high=1, zero="deterministic")  # of ddim: share of new noise in each step
    guidance_scale: float = number(7.5, low=0, high=1000)  # classifier-free guidance; 1: none
    # How far the result gets the contrast of the conditional output; 0.7 for models of zero terminal SNR.
    guidance_rescale: float = number(0.0, low=0, high=1, zero="off")
    negative_prompt: str = ""  # the prompt that guidance leads away from
    seeds: int = number(16, low=1, high=10_000_000)  # images per class to start from
    first_seed: int = number(0, low=0, high=MOST_SAMPLE_SEED)  # the seeds are this one and those that follow
    # Rows per U-Net call, without guidance; auto: found by trying.
    batch_size: int | str = number(32, low=1, high=65536, word="auto")
    # Seeds per shard; an interruption loses at most one shard.
    shard_seeds: int = number(16, low=1, high=10_000_000)
    channels_last: bool = True  # memory layout; faster on most devices
    # Compile the whole U-Net: minutes at first, faster afterwards; null: on a GPU, for long work.
    compile: bool | None = None
    # The kernel; auto: the fastest one.
    attention: str = choice("default", ATTENTION)
    process: int | None = number(None, low=0, high=1_000_000)  # index of this process among ...
    # ... this many; null: from torchrun or srun, else 0 of 1.
    processes: int | None = number(None, low=1, high=1_000_000)


@dataclass
class ModelConfig:
    """The base model: Stable Diffusion 1, 2 or XL, or `phantom-sd`, which ships."""

    name: str = "phantom-sd"  # "phantom-sd", a diffusers folder, a hub id, or a single .safetensors file
    config: str | None = None  # of a single file: a diffusers folder with its configurations and tokenizer
    revision: str | None = None  # branch, tag or commit of the hub id
    vae: str | None = None  # another VAE: folder or hub id of a VAE or of a pipeline
    prediction_type: Prediction | None = None  # null: that of the base model
    # Fine-tune with pure noise at the last timestep, for very dark or bright images; needs v_prediction.
    zero_terminal_snr: bool = False


@dataclass
class LoggerConfig:
    """The experiment tracker that gets losses and figures."""

    name: str = choice("csv", TRACKERS)  # csv is always on; wandb, tensorboard or mlflow in addition
    project: str = "latentpath"  # name of the project in the tracker
    images: bool = False  # send images to wandb and TensorBoard; a model can memorise a patient


@dataclass
class MetricConfig:
    """`latentpath evaluate`: which figures are computed, and how."""

    lpips: list[str] = choice(["alex"], LPIPS_NETS)  # backbones of LPIPS; [] for none
    # Networks whose features FID, KID, precision, recall and Vendi compare.
    features: list[str] = choice(["judge"], ("judge", "inception", "xrayvision"))
    measures: list[str] = field(default_factory=list)  # further distances from plugins: [my_module:blur]
    # curves through the latents of the swaps
    interpolations: list[str] = choice(["bezier", "slerp", "lerp"], INTERPOLATIONS)
    frames: int = number(10, low=2, high=1000)  # points of each curve that are decoded and judged
    arc_length: bool = False  # space frames evenly along the curve, not in t
    # null: the strongest third of the swap steps.
    strong_swap_steps: list[int] | None = number(None, low=0, high=MOST_STEPS)
    vae_precision: str = choice("32-true", ("32-true", "bf16-true"))  # in which images are decoded
    threshold: float = number(0.5, above=0, below=1)  # present if the judge's probability is above this
    # Random draws of tests and bootstraps; intervals over seeds need none.
    resamples: int = number(2000, low=1, high=100_000)
    tsne: bool = True  # draw a map of the latents
    examples: int = number(16, low=1, high=100_000)  # seeds whose images are kept for the report
    against_data: bool = True  # compare with held-out and training images; reads dataset.root
    compare_base: bool = True  # also sample the base model, to see what fine-tuning changed


@dataclass
class Config:
    """All settings; every command takes one `Config`."""

    name: str = "unnamed"  # names the folder of the run in output_dir
    output_dir: str = "outputs"  # all runs are folders in it
    # of training and of random draws; the seeds of images are in sampler
    seed: int = number(0, low=0, high=MOST_SEED)
    overwrite: bool = False  # discard a stage that was made with another configuration
    from_run: str | None = None  # run whose complete stages are reused if this run has none
    weights_dir: str | None = None  # folder of `latentpath fetch`; null: LATENTPATH_WEIGHTS, else the hub
    plugins: list[str] = field(default_factory=list)  # your own modules; settings may name their functions
    dry_run: bool = False  # traverse, run: print the cost of the sweep and exit
    figures: str | None = choice(None, FIGURE_FORMATS)  # report: also write every chart as svg, pdf or png
    compare: list[str] = field(default_factory=list)  # report: compare these runs of output_dir on one page
    # report: draw the images of this many seeds on sheets, to be labelled by a human.
    to_label: int = number(0, low=0, high=100_000, zero="none")
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    attribute: AttributeConfig = field(default_factory=AttributeConfig)
    timesteps: TimestepsConfig = field(default_factory=TimestepsConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    method: MethodsConfig = field(default_factory=MethodsConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    sliders: SlidersConfig = field(default_factory=SlidersConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)


def conf_dir() -> Path:
    """Return the folder of the config groups: inside an installed wheel, or at the top of a checkout."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"
