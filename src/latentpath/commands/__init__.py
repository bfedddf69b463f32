"""The commands of the program: one record each here, and one module each with `run(cfg, run_dir)`.

Importing this imports nothing heavy. A new command is its module, its record and `conf/<name>.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from latentpath.config.schema import Config
from latentpath.runs.command import Command, Result, always

PHANTOM = Command(
    "phantom",
    "draw a phantom data set in the layout of ISIC 2019 or CheXpert",
    reads_images=always,
)
INFO = Command(
    "info",
    "what a data set holds: counts per class, attribute and split",
    reads_images=always,
)
CLASSIFY = Command(
    "classify",
    "train the classifier that judges the images",
    decided_by=("seed", "dataset", "classifier", "trainer.precision"),
    reads_images=always,
    weights=lambda cfg: ("classifier",),
    parallel=True,
    batches=("classifier",),
    reusable=True,
    result=Result("validation accuracy", "maximize"),
)
FINETUNE = Command(
    "finetune",
    "fine-tune the U-Net on captioned images",
    decided_by=("seed", "dataset", "model", "finetune", "trainer.precision"),
    reads_images=always,
    weights=lambda cfg: ("base",),
    compares_weights=True,
    parallel=True,
    batches=("finetune",),
    reusable=True,
    result=Result("training loss", "minimize"),
)
TRAVERSE = Command(
    "traverse",
    "swap the prompt embedding at many steps; store the latents",
    upstream=lambda cfg: (FINETUNE, CLASSIFY) if cfg.timesteps.bisect else (FINETUNE,),
    decided_by=("attribute", "timesteps", "sampler", "inversion", "metric.compare_base"),
    reads_images=lambda cfg: cfg.inversion.method is not None,
    weights=lambda cfg: ("base",) if cfg.metric.compare_base and cfg.inversion.method is None else (),
    parallel=True,
    reusable=True,
    result=Result("U-Net calls", "minimize"),
)
EVALUATE = Command(
    "evaluate",
    "decode, classify, compare: scores, CFRT, LPIPS, cosine, t-SNE",
    upstream=lambda cfg: (FINETUNE, CLASSIFY, TRAVERSE),
    decided_by=("metric",),
    weights=lambda cfg: ("metrics",),
    result=Result("CFRT (released)", "maximize"),
)
REPORT = Command(
    "report",
    "one HTML page of a run",
    upstream=lambda cfg: (CLASSIFY, TRAVERSE, EVALUATE),
)
RUN = Command(
    "run",
    "all of them, skipping what is complete",
    reads_images=always,
    parallel=True,
    batches=(*CLASSIFY.batches, *FINETUNE.batches),
    result=EVALUATE.result,
    stages=(CLASSIFY, FINETUNE, TRAVERSE, EVALUATE, REPORT),
)
CFRT = Command(
    "cfrt",
    "CFRT of any table of probabilities, ours or the paper's authors'",
    takes_config=False,
)
FETCH = Command(
    "fetch",
    "the weights that a configuration needs, for nodes without network",
)

# In the order of the data.
COMMANDS = {
    command.name: command
    for command in (PHANTOM, INFO, CLASSIFY, FINETUNE, TRAVERSE, EVALUATE, REPORT, RUN, CFRT, FETCH)
}


def function_of(command: Command) -> Callable[[Config, Path], float | None]:
    """The command's `run(cfg, run_dir)`. Its module is imported only here, for that takes seconds."""
    return import_module(f"latentpath.commands.{command.name}").run
