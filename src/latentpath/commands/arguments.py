"""The parser of the commands that take files instead of a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from latentpath.errors import UserError


class Arguments(argparse.ArgumentParser):
    """Parses the arguments of one command; a mistake is a UserError that names the command."""

    def __init__(self, command: str, description: str, examples: str = "") -> None:
        super().__init__(
            prog=f"latentpath {command}",
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of ending the process, as argparse does."""
        hint = " Files go before the options." if "invalid int value" in message else ""
        raise UserError(
            f"{self.command}: {message}.{hint} `latentpath {self.command} --help` shows the options."
        )

    def add_runs(self) -> None:
        """Add the positional argument `runs`, the folders of evaluated runs."""
        self.add_argument("runs", nargs="*", metavar="RUN", type=Path, help="the folder of an evaluated run")

    def check_runs(self, runs: Sequence[Path]) -> None:
        """Raise UserError unless there is a run, and each is a folder."""
        if not runs:
            raise UserError(
                f"{self.command}: expected the folder of a run, as in latentpath {self.command} outputs/demo."
            )
        if missing := [run for run in runs if not run.is_dir()]:
            raise UserError(f"{self.command}: no folder {missing[0]}. Give the folder of an evaluated run.")
