"""The settings of fine-tuning the U-Net, and of the sliders that are trained on top of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentpath.config.choices import Trainable
from latentpath.config.fields import choice, number


@dataclass
class FinetuneConfig:
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
    eta: float = number(4.0, above=0, high=1000)  # how many times the attribute's direction scale 1 goes
    # Train beside the other attributes of each image too, so that the direction leaves them as they are.
    preserve: bool = True
    rank: int = number(4, low=1, high=4096)  # of the matrices of LoRA
    alpha: int = number(1, low=1, high=65536)  # LoRA's update is multiplied by alpha / rank
    max_steps: int = number(500, low=1, high=100_000_000)  # optimizer steps of each attribute
    batch_size: int = number(8, low=1, high=65536)  # images of a step
    lr: float = number(2e-3, above=0, high=1)  # learning rate of AdamW
    checkpoint_every: int = number(100, low=1, high=100_000_000)  # steps between checkpoints
