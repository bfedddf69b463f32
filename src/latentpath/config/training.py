"""The settings of what is trained: the U-Net, sliders on top of it, and the classifier."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentpath.config.choices import ACCELERATORS, PRECISIONS, Calibrate, Trainable, Trained
from latentpath.config.fields import choice, number


@dataclass
class FinetuneConfig:
    """`latentpath finetune`: the training of the U-Net on captioned images."""

    trainable: Trainable = Trainable.full  # weights of the U-Net that are trained
    lora_rank: int = number(8, low=1, high=4096)  # of LoRA
    lora_alpha: int = number(8, low=1, high=65536)  # LoRA's update is scaled by alpha / rank
    max_steps: int = number(500, low=1, high=100_000_000)  # optimizer steps
    batch_size: int = number(32, low=1, high=65536)  # summed over all processes
    accumulate: int = number(1, low=1, high=65536)  # batches per optimizer step
    lr: float = number(1e-4, above=0, high=1)  # learning rate of AdamW
    warmup_steps: int = number(0, low=0, high=100_000_000)  # of linear rise from 0 to lr
    lr_decay: bool = False  # cosine decay to zero over max_steps
    adam_beta1: float = number(0.9, low=0, below=1)  # of AdamW
    adam_beta2: float = number(0.999, low=0, below=1)  # of AdamW
    weight_decay: float = number(1e-2, low=0, high=100)  # of AdamW
    clip_norm: float = number(1.0, low=0, high=1_000_000, zero="off")  # largest norm of the gradient
    caption_dropout: float = number(0.1, low=0, high=1)  # share of empty captions, for guidance
    # Weights timesteps with little noise less; usually 5; 0: equal weights.
    min_snr_gamma: float = number(0.0, low=0, high=1000, zero="off")
    # 0.05 to 0.1 lets the model make darker or brighter images.
    noise_offset: float = number(0.0, low=0, high=10, zero="off")
    # Decay of the average of the weights (EMA); 0: no average.
    ema_decay: float = number(0.0, low=0, below=1, zero="no average")
    # Steps between updates of the EMA, which then use ema_decay ** ema_every.
    ema_every: int = number(1, low=1, high=100_000)
    # Compile the whole U-Net: minutes at first, faster afterwards; null: on a GPU, for long work.
    compile: bool | None = None
    channels_last: bool = True  # memory layout; faster on most devices
    gradient_checkpointing: bool = False  # less memory, about a third more time
    # Steps between sample grids; 0: only one at the end.
    sample_every: int = number(0, low=0, high=100_000_000)
    checkpoint_every: int = number(200, low=1, high=100_000_000)  # steps between checkpoints
    # Images of the validation split on which the validation loss is measured, at most.
    val_images: int = number(32, low=1, high=1_000_000)
    # Steps between validations; auto: at most 5 % of the U-Net's rows in training.
    val_every_steps: int | str = number("auto", low=0, high=100_000_000, zero="never", word="auto")
    # Export the step with the best validation loss instead of the last: loss, or loss_ema of the average.
    monitor: str | None = choice(None, ("loss", "loss_ema"))
    # With a monitor: stop after this many validations without improvement; 0: never.
    patience: int = number(0, low=0, high=1_000_000, zero="never stop")
    log_every: int = number(10, low=1, high=100_000_000)  # steps between logged losses


@dataclass
class SlidersConfig:
    """`latentpath sliders`: one low-rank adapter (LoRA) for each attribute, by Gandikota et al. 2023."""

    attributes: list[str] = field(default_factory=list)  # [] means all of attribute.names
    # How many times the attribute's direction the slider moves at scale 1.
    eta: float = number(4.0, above=0, high=1000)
    # Name the other attributes of each image in both captions, so that the slider leaves them unchanged.
    preserve: bool = True
    rank: int = number(4, low=1, high=4096)  # of the matrices of LoRA
    alpha: int = number(1, low=1, high=65536)  # LoRA's update is multiplied by alpha / rank
    max_steps: int = number(500, low=1, high=100_000_000)  # optimizer steps of each attribute
    batch_size: int = number(8, low=1, high=65536)  # images of a step
    lr: float = number(2e-3, above=0, high=1)  # learning rate of AdamW
    checkpoint_every: int = number(100, low=1, high=100_000_000)  # steps between checkpoints


@dataclass
class ClassifierConfig:
    """`latentpath classify`: the network of the judge, its training and its calibration."""

    arch: str = "efficientnet_b0"  # a timm name, efficientnet_tiny, resnet_micro or my_module:build
    pretrained: bool = True  # start from ImageNet weights
    trainable: Trained = Trained.full  # the whole network, or a linear layer on the features of all stages
    # Pixels at which the network sees images; null: dataset.image_size, at which they are read.
    image_size: int | None = number(None, low=8, high=4096)
    epochs: int = number(10, low=1, high=100_000)  # at most
    # Stop after this many epochs without improvement; 0: never.
    patience: int = number(0, low=0, high=100_000, zero="never stop")
    # Selects the best epoch on the validation split: loss, or auroc (mean over labels).
    monitor: str = choice("loss", ("loss", "auroc"))
    batch_size: int = number(64, low=1, high=65536)  # summed over all processes
    lr: float = number(1e-4, above=0, high=1)  # learning rate of AdamW
    weight_decay: float = number(1e-2, low=0, high=100)  # of AdamW
    dropout: float = number(0.3, low=0, below=1)  # before the last layer
    horizontal_flip: bool = True  # flip half of the training images
    vertical_flip: bool = True  # flip half of the training images
    rotation: float = number(0.0, low=0, high=180)  # degrees: rotate by at most this much in either direction
    color_jitter: float = number(0.0, low=0, high=1)  # brightness, contrast, saturation: factors in 1 +- this
    # Pixels: blur half of the training images by a sigma up to this.
    blur: float = number(0.0, low=0, high=100)
    class_weights: bool = True  # weight rare classes and rare positives up, at most tenfold
    # trainable=head: also fit and calibrate on images after the base model's VAE, as generated images are.
    through_vae: bool = False
    # Held-out images that are also judged after the base model's VAE, as generated images are; 0: none.
    round_trips: int = number(2000, low=0, high=1_000_000, zero="none")
    # trainable=head: also judge every image by a layer that is fitted on the other folds of groups; 0: no.
    folds: int = number(0, low=0, high=100, zero="none")
    calibrate: Calibrate = Calibrate.temperature  # how logits become probabilities, by the validation split


@dataclass
class TrainerConfig:
    """Device, number of processes and precision, as in the Trainer of Lightning."""

    accelerator: str = choice("auto", ACCELERATORS)  # where to compute
    devices: int = number(1, low=1, high=1024)  # processes on each node
    num_nodes: int = number(1, low=1, high=65536)  # machines of the job
    # Of Lightning.
    strategy: str = choice("auto", ("auto", "ddp", "ddp_find_unused_parameters_true"))
    precision: str = choice("32-true", PRECISIONS)  # of Lightning
    num_workers: int = number(0, low=0, high=1024)  # processes that load data
