"""Checks that refuse an impossible sweep before its first job."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from omegaconf import DictConfig, OmegaConf

from latentpath.errors import UserError
from latentpath.runs.command import Command


def check_sweep(command: Command, args: Sequence[str]) -> None:
    """Raise UserError for an impossible sweep, before anything is composed."""
    optuna = "hydra/sweeper=optuna" in args
    if not {"-m", "--multirun"} & set(args):
        if optuna:
            raise UserError("hydra/sweeper=optuna needs -m: latentpath <command> -m hydra/sweeper=optuna ...")
        return
    if optuna and command.result is None:
        raise UserError(
            f"{command.name} returns no number, so it cannot be optimised. Sweep over listed values without "
            "hydra/sweeper=optuna."
        )
    if optuna and find_spec("optuna") is None:
        raise UserError("hydra/sweeper=optuna: not installed; run `pip install 'latentpath[optuna]'`")
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = [arg for arg in args if "=" in arg and not arg.startswith("-")]
    for override in OverridesParser.create().parse_overrides(words):
        if override.is_hydra_override():
            continue
        if override.is_interval_sweep() and not any(word.startswith("hydra/sweeper=") for word in words):
            raise UserError(
                f"{override.input_line}: an interval needs hydra/sweeper=optuna; without it, list values."
            )


def check_folders(hydra: DictConfig) -> None:
    """Raise UserError, before the first job, if jobs with different settings would share a folder.

    hydra: the unresolved configuration of the sweep, with its overrides and the pattern of the job folders.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = [*hydra.overrides.task]
    words += [f"{key}={values}" for key, values in (hydra.sweeper.get("params") or {}).items()]
    subdir = str(OmegaConf.to_container(hydra.sweep, resolve=False)["subdir"])  # pyright: ignore
    for override in OverridesParser.create().parse_overrides(words):
        if not override.is_sweep_override():
            continue
        key, by_overrides = override.key_or_group, "override_dirname" in subdir
        if by_overrides and key in hydra.job.config.override_dirname.exclude_keys:
            raise UserError(
                f"{override.input_line}: the folder of a job is named after its overrides, and {key} is not "
                "part of that name, so these jobs would share one. Start one command for each value."
            )
        marks = ("job.num", "job.id", f"${{{key}", f"choices.{key}")
        if not by_overrides and not any(mark in subdir for mark in marks):
            raise UserError(
                f"{override.input_line}: {key} has no part in hydra.sweep.subdir={subdir}, so these jobs "
                "would share one. Leave that out, or number them: hydra.sweep.subdir='${hydra.job.num}'."
            )
