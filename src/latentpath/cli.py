"""The command line `latentpath <command> [overrides]`, which shows a user's mistake as one message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from latentpath import __version__
from latentpath.commands import COMMANDS, RUN, TRAVERSE, function_of
from latentpath.config.checks import check
from latentpath.config.overrides import as_typed, check_launcher, check_overrides, plain_errors, resolve
from latentpath.config.schema import Config, conf_dir
from latentpath.errors import UserError, near
from latentpath.runs.command import Command
from latentpath.runs.job import check_addresses, fail, run_job, saying_lack_of_memory

HELP = f"""latentpath {__version__}: ask a diffusion model for one attribute, and measure what else changes

usage: latentpath <command> [overrides] [-m] [--cfg job] [--info] [--help]

commands, in the order of the data
{{commands}}

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
    """Run the console script. Exits with status 2 after a mistake that the user can fix."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        with saying_lack_of_memory():
            _answer(args)
        sys.stdout.flush()
    except UserError as error:
        fail(error)
    except BrokenPipeError:  # the reader of the output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None  # what a shell says of SIGPIPE


def _answer(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        lines = (f"  {command.name:<{width}}  {command.help}" for command in COMMANDS.values())
        print(HELP.format(commands="\n".join(lines)), end="")
    elif args[0] == "--version":
        print(__version__)
    elif args[0] in ("-sc", "--shell-completion"):
        _complete(args)
    else:
        _call(args[0], args[1:])


def _call(name: str, args: list[str]) -> None:
    if name not in COMMANDS:
        raise UserError(f"no command {name!r}.{near(name, COMMANDS)} `latentpath --help` describes them.")
    check_addresses()
    command = COMMANDS[name]
    if not command.takes_config:  # it takes files instead of a configuration
        import_module(f"latentpath.commands.{command.name}").main(args)
        return
    check_launcher(args)
    args = as_typed(args)
    check_overrides(args)
    if {"-m", "--multirun", "hydra/sweeper=optuna"} & set(args):
        from latentpath.runs.sweeps.checks import check_sweep

        check_sweep(command, args)
    _compose_and_call(command, args)
    if command is TRAVERSE and any(arg in ("--cfg", "-c") for arg in args):
        _print_cost(args)


def _compose_and_call(command: Command, args: list[str]) -> None:
    """Let Hydra compose the configuration and call the command with it, once or as a sweep."""
    import hydra
    from hydra.core.config_store import ConfigStore

    from latentpath.runs.sweeps.jobs import record_job, summarize_sweep

    ConfigStore.instance().store(name="schema", node=Config)
    # argparse accepts overrides only on one side of an option, so -m goes first.
    args = sorted(args, key=lambda arg: arg not in ("-m", "--multirun"))
    sys.argv = ["latentpath", *args]
    name = command.name
    began = False

    def job(cfg: Config) -> float | None:
        nonlocal began
        began = True
        return record_job(_job, name, cfg)

    entry: Callable[[], object] = hydra.main(
        version_base="1.3", config_path=str(conf_dir()), config_name=name
    )(job)
    with summarize_sweep(command), plain_errors():
        try:
            entry()
        except OSError as error:
            if began or isinstance(error, BrokenPipeError):
                raise
            raise UserError(  # Hydra makes the folder of a run before it calls the job
                f"output_dir: {error.filename} cannot be made ({error.strerror}). Give a folder that you may "
                "write to: output_dir=..."
            ) from None


def _job(name: str, cfg: Config) -> float | None:
    return run_job(COMMANDS[name], function_of, cfg)


def _print_cost(args: list[str]) -> None:
    """Print the cost of the sweep as YAML comments below the configuration."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    overrides = [arg for arg in args if "=" in arg and not arg.startswith("-")]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = cast(Config, compose(TRAVERSE.name, overrides))
    resolve(cfg)
    check(cfg, reads_images=lambda _: False)
    import_module("latentpath.commands.traverse").say_cost(cfg)


def _complete(args: list[str]) -> None:
    """Run Hydra's shell completion for a line whose first word is a command."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if "install" not in "".join(args[1:]):  # nor "uninstall"
        if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
            typed = words[1] if len(words) > 1 else ""
            print("\n".join(name for name in COMMANDS if name.startswith(typed)))
            return
        without_command = line.replace(f" {words[1]}", "", 1)
        cursor = int(os.environ.get("COMP_POINT", len(line))) - len(line) + len(without_command)
        os.environ |= {"COMP_LINE": without_command, "COMP_POINT": str(cursor)}
    command = COMMANDS.get(words[1], RUN) if len(words) > 1 else RUN
    _compose_and_call(command if command.takes_config else RUN, args)


if __name__ == "__main__":
    main()
