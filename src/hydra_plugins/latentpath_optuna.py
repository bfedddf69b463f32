"""A Hydra sweeper that lets Optuna propose values; the same command resumes an interrupted sweep.

It is in this package because Hydra finds plugins only in `hydra_plugins`. Hydra imports this file at every
start, so the file imports Optuna only when it is needed.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from latentpath.commands import COMMANDS
from latentpath.errors import UserError
from latentpath.runs.locks import locked
from latentpath.runs.sweeps.records import UNNAMED, read_record, say

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

    Space = dict[str, BaseDistribution]  # key -> the values to search
    Ended = queue.SimpleQueue[tuple[tuple[str, ...], float | str]]  # a job's words; its result or failure

HOPELESS = 3  # after this many failures without a success, the command itself must be wrong


class OptunaSweeper(Sweeper):
    """The sweeper; conf/hydra/sweeper/optuna.yaml documents its settings."""

    # Hydra calls `setup` first, so that none of them is None later as in its base class.
    hydra_context: HydraContext  # pyright: ignore[reportIncompatibleVariableOverride]
    config: DictConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    launcher: Launcher  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        n_trials: int,
        n_jobs: int,
        direction: str | None,
        seed: int,
        n_startup_trials: int,
        journal: str,
    ) -> None:
        self.n_trials, self.n_jobs, self.direction = n_trials, n_jobs, direction
        self.seed, self.n_startup_trials = seed, n_startup_trials
        self.journal = Path(journal)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context  # pyright: ignore[reportIncompatibleVariableOverride]
        self.config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launcher = launcher  # pyright: ignore[reportIncompatibleVariableOverride]

    def sweep(self, arguments: list[str]) -> None:
        try:
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            with self.journal.with_suffix(".lock").open("w") as file:
                if not locked(file):
                    raise UserError(f"another process already makes the trials of {self.journal}.")
                self._sweep(arguments)
        except UserError as error:
            say(str(error))
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            say("interrupted; the same command continues from here")
            raise SystemExit(130) from None

    def _sweep(self, arguments: list[str]) -> None:
        """Run the trials. Trials with equal values share one job, its folder and its result."""
        import optuna
        from optuna.trial import TrialState

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
        space = {o.get_key_element(): self._distribution(o) for o in overrides if o.is_sweep_override()}
        self._check(space)
        study = self._study(fixed, space)
        results: dict[tuple[str, ...], float] = {}
        waiting: list[
            tuple[int, tuple[str, ...]]
        ] = []  # trials that were running when the sweep was interrupted
        for trial in study.get_trials(deepcopy=False):
            words = tuple(f"{key}={_text(value)}" for key, value in trial.params.items())
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                results[words] = trial.value
            elif trial.state == TrialState.RUNNING and trial.params.keys() == space.keys():
                waiting.append((trial.number, words))
            elif trial.state == TrialState.RUNNING:  # interrupted before it had its values
                study.tell(trial.number, state=TrialState.FAIL)
        if results or waiting:
            say(f"{study.study_name}: {len(results)} trials are done, {len(waiting)} are taken up again")

        running: dict[tuple[str, ...], list[int]] = {}  # job -> its trials
        ended: Ended = queue.SimpleQueue()
        failed: set[tuple[str, ...]] = set()  # jobs that failed since this start
        while True:
            while len(running) < self.n_jobs and (waiting or self._left(study, space)):
                if len(failed) >= HOPELESS and not results:
                    break
                number, words = waiting.pop(0) if waiting else self._ask(study, space)
                if words in results:
                    study.tell(number, results[words])
                elif words in failed:
                    study.tell(number, state=TrialState.FAIL)
                elif words in running:
                    running[words].append(number)
                else:
                    running[words] = [number]
                    self._begin(number, words, [*fixed, *words], ended)
            if failed and not results and not running:
                # These failures say nothing about the values, so a new start must not count them.
                optuna.delete_study(study_name=study.study_name, storage=self.storage)
                raise UserError(f"{len(failed)} trials failed, and none succeeded. Fix the command.")
            if not running:
                return
            words, result = ended.get()
            for number in running.pop(words):
                if isinstance(result, str):
                    study.tell(number, state=TrialState.FAIL)
                    if not self._here():  # otherwise the job has printed it in this terminal
                        say(f"trial {number} ({' '.join(words)}) failed: {result}")
                    failed.add(words)
                else:
                    study.tell(number, result)
                    results[words] = result

    def _left(self, study: Study, space: Space) -> bool:
        """Return whether trials remain; a trial interrupted before it had its values does not count."""
        trials = study.get_trials(deepcopy=False)
        return sum(trial.params.keys() == space.keys() for trial in trials) < self.n_trials

    def _ask(self, study: Study, space: Space) -> tuple[int, tuple[str, ...]]:
        """Ask for a new trial with its own seed, because a new sampler would repeat the first values."""
        import numpy as np
        from optuna.samplers import TPESampler

        number = len(study.get_trials(deepcopy=False))
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        study.sampler = TPESampler(
            n_startup_trials=self.n_startup_trials, seed=int(seed), constant_liar=self.n_jobs > 1
        )
        trial = study.ask(fixed_distributions=space)
        return trial.number, tuple(f"{key}={_text(trial.params[key])}" for key in space)

    def _begin(self, number: int, words: tuple[str, ...], overrides: list[str], ended: Ended) -> None:
        def run() -> None:
            try:
                ended.put((words, self._launch(number, overrides)))
            except UserError as error:
                ended.put((words, str(error)))

        if self.n_jobs == 1:
            run()
        else:  # a launcher returns when its jobs end; daemon: an interrupt waits for none of them
            threading.Thread(target=run, daemon=True).start()

    def _launch(self, number: int, overrides: list[str]) -> float | str:
        """Launch a job; return its result, or the reason why it has none."""
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        folder = Path(composed.hydra.sweep.dir) / composed.hydra.sweep.subdir
        why = "it returned no number"
        try:
            (job,) = self.launcher.launch([overrides], initial_job_idx=number)
            value = job.return_value
            if value is not None and math.isfinite(value):
                return float(value)
        except Exception as error:  # from the launcher, or from a job in its own process
            why = (str(error).strip() or type(error).__name__).splitlines()[-1]
        record = read_record(folder, self.config.hydra.job.config_name) or {}
        return (record.get("message") or why).splitlines()[0]

    def _check(self, space: Space) -> None:
        if not space:
            raise UserError("nothing to search: give values to choose from, or key=interval(low, high).")
        unnamed = [key for key in space if key in UNNAMED]
        if unnamed:
            raise UserError(
                f"{unnamed[0]} is not part of the names of the trials' folders, so all trials would share "
                "one folder: search over another setting."
            )
        if self.n_jobs < 1 or self.n_trials < 1:
            raise UserError(
                f"hydra.sweeper.n_trials is {self.n_trials} and n_jobs is {self.n_jobs}, expected 1 or more."
            )
        if self.n_jobs > 1 and self._here():
            raise UserError(
                f"hydra.sweeper.n_jobs={self.n_jobs}: in this process trials run one after another. Give "
                "hydra/launcher=slurm, which makes a job of each trial, or n_jobs=1."
            )

    def _here(self) -> bool:
        return "basic_launcher" in str(self.config.hydra.launcher.get("_target_", ""))

    def _study(self, fixed: Sequence[str], space: Space) -> Study:
        """Open the study of this run and command. Raises UserError if it was made with other settings."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        command = self.config.hydra.job.config_name
        result = COMMANDS[command].result
        direction = self.direction or (result.direction if result else None)
        if direction not in ("minimize", "maximize"):
            raise UserError(f"hydra.sweeper.direction is {direction!r}, expected minimize or maximize.")
        same = [word for word in fixed if word.split("=")[0] not in UNNAMED or word.startswith("experiment=")]
        settings = {"direction": direction, "fixed": " ".join(sorted(same)) or "(none)"}
        settings |= {key: str(values) for key, values in space.items()}
        _mend(self.journal)
        self.storage = JournalStorage(JournalFileBackend(str(self.journal)))
        storage, name = self.storage, f"{self.config.name}/{command}"
        known = {study.study_name: study for study in optuna.get_all_study_summaries(storage=storage)}
        there = known[name].user_attrs.get("settings", settings) if name in known else settings
        if there != settings and self.config.overwrite:
            optuna.delete_study(study_name=name, storage=storage)
        elif there != settings:
            lines = [
                f"  {key}: {there.get(key, '(absent)')} there, {settings.get(key, '(absent)')} now"
                for key in sorted({*there, *settings})
                if there.get(key) != settings.get(key)
            ]
            raise UserError(
                f"the trials of {self.journal} were made with other settings, and the two are not mixed:\n"
                + "\n".join(lines)
                + "\nChoose another name=..., or overwrite=true to begin anew."
            )
        study = optuna.create_study(
            study_name=name, storage=storage, direction=direction, load_if_exists=True
        )
        study.set_user_attr("settings", settings)
        return study

    def _distribution(self, override: Override) -> BaseDistribution:
        """Convert a Hydra override (a,b, choice(), range(), interval(), tag(), glob()) to a distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        key, values = override.get_key_element(), override.value()
        try:
            if isinstance(values, IntervalSweep):
                low, high, log = values.start, values.end, "log" in values.tags
                if not -math.inf < float(low or 0) <= float(high or 0) < math.inf:
                    raise ValueError("expected two finite numbers, the lower one first")
                whole = isinstance(low, int) or isinstance(OmegaConf.select(self.config, key), int)
                if whole:
                    return IntDistribution(math.ceil(low or 0), math.floor(high or 0), log=log)
                return FloatDistribution(float(low or 0), float(high or 0), log=log)
            if isinstance(values, RangeSweep):
                steps = list(values.range())
                if len(steps) > 1 and all(isinstance(step, int) for step in steps):
                    return IntDistribution(min(steps), max(steps), step=abs(steps[1] - steps[0]))
            return CategoricalDistribution(list(override.sweep_string_iterator()))
        except ValueError as error:
            raise UserError(f"{override.input_line}: {error}") from None


def _mend(journal: Path) -> None:
    """Remove an incomplete last line, left by an interruption; Optuna would append to it and read neither."""
    if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)
