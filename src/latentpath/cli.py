"""`latentpath <command> [overrides]`: answers fast, checks early, shows a user's mistake as one message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from latentpath import __version__
from latentpath.config.checks import check
from latentpath.config.overrides import check_launcher, check_overrides
from latentpath.config.schema import COMMANDS, Config, conf_dir
from latentpath.errors import UserError, near
from latentpath.runs.submitted import reported

# Of what is meant: small data without workers, a machine that has SLURM besides; of Lightning's insides.
EXPECTED_WARNINGS = (
    ".*does not have many workers.*|The `srun` command is available.*|.*LeafSpec.*|.*treespec.*"
)

HELP = f"""latentpath {__version__}: ask a diffusion model for one attribute, and measure what else changes

usage: latentpath <command> [overrides] [-m] [--cfg job] [--info] [--help]

commands, in the order of the data
  phantom    draw a phantom data set in the layout of ISIC 2019 or CheXpert
  info       what a data set holds: counts per class, attribute and split
  classify   train the classifier that judges the images
  finetune   fine-tune the U-Net on captioned images
  traverse   swap the prompt embedding at many steps; store the latents
  evaluate   decode, classify, compare: scores, CFRT, LPIPS, cosine, t-SNE
  report     one HTML page of a run
  run        all of them, skipping what is complete
  cfrt       CFRT of any table of probabilities, ours or the paper's authors'
  fetch      the weights that a configuration needs, for nodes without network

examples
  latentpath run experiment=demo
  latentpath info dataset=isic2019 dataset.root=/data/isic2019
  latentpath run experiment=isic2019_64 dataset.root=/data/isic2019 name=mine
  latentpath fetch model=sd15 classifier=efficientnet_b0 weights_dir=weights
  latentpath traverse experiment=demo --cfg job              show the configuration, run nothing
  latentpath finetune experiment=demo -m finetune.lr=1e-4,3e-4    a sweep

`latentpath <command> --help` lists the config groups. Completion: eval "$(latentpath -sc install=bash)"
"""


def main(argv: Sequence[str] | None = None) -> None:
    """The console script. Exit status 2 for a mistake that the user can mend."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    if args[0] == "--version":
        print(__version__)
        return
    if args[0] in ("-sc", "--shell-completion"):
        return _complete(args)
    command, *rest = args
    try:
        if command == "cfrt":  # it takes files, not a configuration
            import_module("latentpath.commands.cfrt").main(rest)
            return
        if command not in COMMANDS:
            raise UserError(
                f"no command {command!r}.{near(command, COMMANDS)} `latentpath --help` describes them."
            )
        check_launcher(rest)
        check_overrides(rest)
        if {"-m", "--multirun", "hydra/sweeper=optuna"} & set(rest):
            from latentpath.runs.sweeps.checks import check_sweep

            check_sweep(command, rest)
    except UserError as error:
        _fail(error)
    _compose_and_call(command, rest)


def _compose_and_call(command: str, args: list[str]) -> None:
    """Let Hydra compose the configuration and call the command with it, once or as a sweep."""
    import hydra
    from hydra.core.config_store import ConfigStore

    from latentpath.runs.sweeps.jobs import record_job, summarize_sweep

    ConfigStore.instance().store(name="schema", node=Config)
    # argparse takes overrides on one side of an option only: -m goes first.
    args = sorted(args, key=lambda arg: arg not in ("-m", "--multirun"))
    sys.argv = ["latentpath", *args]
    entry: Callable[[], Any] = hydra.main(
        version_base="1.3", config_path=str(conf_dir()), config_name=command
    )(lambda cfg: record_job(_job, command, cfg))
    with summarize_sweep():
        entry()
    if command == "traverse" and any(arg in ("--cfg", "-c") for arg in args):
        _say_cost(args)


def _say_cost(args: list[str]) -> None:
    """Below the configuration, as comments of its YAML, what the sweep would cost."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from latentpath.runs.weights import choose

    overrides = [arg for arg in args if "=" in arg and not arg.startswith("-")]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = cast(Config, compose("traverse", overrides))
        check(cfg, reads_images=False)
        choose(cfg.weights_dir)
        import_module("latentpath.commands.traverse").say_cost(cfg)
    except UserError as error:
        _fail(error)


@reported()
def _job(command: str, cfg: Config) -> float | None:
    import logging
    import warnings

    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from latentpath.runs.preflight import check_weights
    from latentpath.runs.ranks import BATCHES, SINGLE, agree, check_launch, connected, current_rank

    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    for chatty in (
        "httpx",
        "matplotlib",
        "lightning.pytorch.utilities.rank_zero",
        "lightning.fabric.utilities.rank_zero",
        "openTSNE",
        "PIL",
        "fsspec",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=EXPECTED_WARNINGS)
    try:
        reads = command not in ("traverse", "evaluate", "report", "fetch")
        check(cfg, reads_images=reads or (command == "traverse" and cfg.inversion.method is not None))
        rank = current_rank()
        joined = command in BATCHES
        if joined:
            check_launch(cfg, rank, HydraConfig.get())
        elif not rank.is_zero and command != "traverse":
            return None  # one process is enough; those of a traversal share the seeds
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        check_weights(cfg, command, run_dir)
        with connected(rank if joined else SINGLE, accelerator=cfg.trainer.accelerator):
            if joined:
                agree(OmegaConf.to_yaml(cfg, resolve=True), rank)
            return import_module(f"latentpath.commands.{command}").run(cfg, run_dir)
    except UserError as error:
        _fail(error)
    except KeyboardInterrupt:
        print("\nlatentpath: interrupted; the same command continues from here", file=sys.stderr)
        raise SystemExit(130) from None


def _fail(error: UserError) -> None:
    print(f"latentpath: {error}", file=sys.stderr)
    raise SystemExit(2)


def _complete(args: list[str]) -> None:
    """Hydra's shell completion, taught that the first word is a command."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if "install" not in "".join(args[1:]) and "uninstall" not in "".join(args[1:]):
        typing_command = len(words) < 2 or (len(words) == 2 and not line.endswith(" "))
        if typing_command:
            print("\n".join(c for c in COMMANDS if c.startswith(words[1] if len(words) > 1 else "")))
            return
        shorter = line.replace(f" {words[1]}", "", 1)
        os.environ["COMP_LINE"] = shorter
        os.environ["COMP_POINT"] = str(
            int(os.environ.get("COMP_POINT", len(line))) - len(line) + len(shorter)
        )
    _compose_and_call(words[1] if len(words) > 1 and words[1] in COMMANDS else "run", args)


if __name__ == "__main__":
    main()
