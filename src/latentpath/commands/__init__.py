"""The commands: one record for each here, and one module for each with `run(cfg, run_dir)`.

Importing this room imports nothing heavy. A new command needs a module, a record and `conf/<name>.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from latentpath.config.naming import with_keys
from latentpath.config.schema import Config
from latentpath.runs.command import Command, Result, always

PHANTOM = Command(
    "phantom", "draw a phantom data set in the layout of ISIC 2019 or CheXpert", reads_images=always
)
INFO = Command(
    "info", "show what a data set holds: counts per class, attribute and split", reads_images=always
)
CLASSIFY = Command(
    "classify",
    "train the classifier that judges the images",
    decided_by=("seed", "dataset", "classifier", "trainer.precision"),
    reads_images=always,
    weights=lambda cfg: (
        ("classifier", "base")
        if cfg.classifier.round_trips or cfg.classifier.through_vae
        else ("classifier",)
    ),
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
SLIDERS = Command(
    "sliders",
    "train a low-rank adapter for each attribute, which the method slider turns on",
    upstream=lambda cfg: (FINETUNE,),
    decided_by=("seed", "sliders", "trainer.precision"),
    reads_images=always,
    weights=lambda cfg: ("base",),
    reusable=True,
    result=Result("unexplained share of the directions", "minimize"),
)
TRAVERSE = Command(
    "traverse",
    "swap the prompt embedding at many steps; store the latents",
    upstream=lambda cfg: (
        FINETUNE,
        *((CLASSIFY,) if cfg.timesteps.bisect else ()),
        *sliders_for(cfg),
    ),
    decided_by=("attribute", "timesteps", "method", "sampler", "inversion", "metric.compare_base"),
    reads_images=lambda cfg: cfg.inversion.method is not None,
    weights=lambda cfg: ("base",) if cfg.metric.compare_base and cfg.inversion.method is None else (),
    parallel=True,
    reusable=True,
    result=Result("U-Net calls", "minimize"),
)
EVALUATE = Command(
    "evaluate",
    "decode, judge and compare the images; compute every figure",
    upstream=lambda cfg: (FINETUNE, CLASSIFY, TRAVERSE),
    decided_by=("metric",),
    weights=lambda cfg: ("metrics",),
    parallel=True,
    result=Result("strict CFRT with flip, low end", "maximize"),
)
REPORT = Command(
    "report",
    "write one HTML page of a run",
    upstream=lambda cfg: (CLASSIFY, TRAVERSE, EVALUATE),
)
RUN = Command(
    "run",
    "run all stages in order, skipping complete ones",
    reads_images=always,
    parallel=True,
    batches=(*CLASSIFY.batches, *FINETUNE.batches),
    result=EVALUATE.result,
    stages=lambda cfg: (CLASSIFY, FINETUNE, *sliders_for(cfg), TRAVERSE, EVALUATE, REPORT),
)
CFRT = Command("cfrt", "compute CFRT from any table of probabilities", takes_config=False)
POWER = Command(
    "power",
    "say how many seeds the figures need, and how far another training would move them",
    takes_config=False,
)
LEADERBOARD = Command(
    "leaderboard",
    "rank methods by what else they change, at equal effect",
    takes_config=False,
)
EXPLORE = Command(
    "explore", "edit with a run's model by hand, in a browser on this machine", takes_config=False
)
FETCH = Command("fetch", "download the weights that a configuration needs")

# In the order in which data flow through them.
COMMANDS = {
    command.name: command
    for command in (
        *(PHANTOM, INFO, CLASSIFY, FINETUNE, SLIDERS, TRAVERSE, EVALUATE, REPORT, RUN),
        *(CFRT, POWER, LEADERBOARD, EXPLORE, FETCH),
    )
}


def slider_of(attribute: str) -> Command:
    """Return the record of the stage `sliders/<attribute>`: each attribute's slider is a stage of its own."""
    return replace(SLIDERS, name=f"{SLIDERS.name}/{attribute}")


def sliders_for(cfg: Config) -> tuple[Command, ...]:
    """Return the stages of the sliders that the sweep of `cfg` turns on."""
    return tuple(map(slider_of, cfg.attribute.names)) if cfg.method.slider is not None else ()


def function_of(command: Command) -> Callable[[Config, Path], float | None]:
    """Import the command's module, which can take seconds, and return its `run(cfg, run_dir)`.

    Its errors name the configuration keys of arguments.
    """
    run, part = import_module(f"latentpath.commands.{command.called}").run, command.name.split("/")[1:]

    def named(cfg: Config, run_dir: Path) -> float | None:
        with with_keys(command.decided_by):
            return run(cfg, run_dir, *part)

    return named
