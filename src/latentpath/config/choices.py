"""The names that settings take, and the largest numbers that make sense."""

from __future__ import annotations

from enum import StrEnum

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
ATTENTION = ("default", "auto", "flash", "efficient", "cudnn", "math")
FIGURE_FORMATS = ("svg", "pdf", "png")
LAYOUTS = ("isic2019", "chexpert", "image_table")
LPIPS_NETS = ("alex", "squeeze", "vgg")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")
SOLVERS = ("ddim", "dpmpp_2m", "euler", "euler_ancestral")
SPLITS = ("train", "val", "test")
TRACKERS = ("csv", "wandb", "tensorboard", "mlflow")

MOST_STEPS = 1000  # of the training schedules of Stable Diffusion
MOST_SEED = 2**32 - 1  # what numpy's generators take
MOST_SAMPLE_SEED = 2**62  # torch's generators take 63 bits; some are left for the seeds that follow it


class OnError(StrEnum):
    """What to do with rows of the data set that cannot be used."""

    skip = "skip"  # leave out rows that cannot be used, unless they are most of the table
    skip_most = "skip_most"  # leave them out even then
    fail = "fail"


class Resize(StrEnum):
    """How an image becomes square: `squash` ignores its aspect ratio, `crop` takes the central square."""

    squash = "squash"
    crop = "crop"


class Artefacts(StrEnum):
    """Which table of artefacts of ISIC 2019 gives the labels: inferred by a model, or by hand."""

    inferred = "inferred"
    manual = "manual"


class Uncertain(StrEnum):
    """What the label -1 of CheXpert becomes: present, absent, or unknown."""

    ones = "ones"
    zeros = "zeros"
    ignore = "ignore"


class Trainable(StrEnum):
    """Which weights of the U-Net fine-tuning changes."""

    full = "full"
    attention = "attention"  # the projections of self- and cross-attention
    lora = "lora"


class Trained(StrEnum):
    """Which weights of the classifier training changes."""

    full = "full"
    head = "head"  # a linear layer on the features of a frozen network


class Calibrate(StrEnum):
    """How the logits of the classifier become probabilities."""

    full = "full"  # undo the weights of classes and positives, then a temperature
    temperature = "temperature"  # decide as trained: rare labels as if they were as frequent as others
    none = "none"


class Strength(StrEnum):
    """How a strength other than 1 changes the embedding e' of the target; e is the neutral one."""

    interpolate = "interpolate"  # e + strength (e' - e)
    scale = "scale"  # strength e'


class Prediction(StrEnum):
    """What the U-Net predicts."""

    epsilon = "epsilon"
    v_prediction = "v_prediction"
