"""Sweeps with -m: folders, records, the table; Optuna's trials, also after a kill; real ones at the end."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentpath.cli import main
from latentpath.commands import COMMANDS
from latentpath.errors import UserError
from latentpath.runs.figure_style import COLOURS
from latentpath.runs.sweeps.chart import sweep_chart
from latentpath.runs.sweeps.jobs import folder_name
from latentpath.runs.sweeps.records import UNNAMED, jobs_of

OPTUNA = ("hydra/sweeper=optuna", "finetune.lr=tag(log,interval(1e-5,1e-2))")

# The place of `finetune` in processes of their own: Python imports a module of this name at its start.
STAND_IN = """
import math, os, sys, time
from pathlib import Path
from types import SimpleNamespace
def run(cfg, run_dir):
    calls = Path(os.environ["CALLS"])
    with calls.open("a") as file:
        file.write(f"{cfg.finetune.lr}\\n")
    while len(calls.read_text().split()) >= int(os.environ.get("HALT_AT", "1000")):
        time.sleep(0.01)
    if cfg.finetune.lr > 5e-3:
        from latentpath.errors import UserError
        raise UserError("the loss is not finite")
    return (math.log10(cfg.finetune.lr) + 4) ** 2
sys.modules["latentpath.commands.finetune"] = SimpleNamespace(run=run)
"""


@pytest.fixture
def latentpath(monkeypatch, capfd):
    """`latentpath(*words)` runs the command in this process and returns its output."""
    monkeypatch.setattr(sys, "argv", ["latentpath"])
    monkeypatch.setenv("COLUMNS", "200")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*words: str) -> str:
        main(words)
        return "".join(capfd.readouterr())

    yield run
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def sweep(latentpath, monkeypatch, tmp_path, capfd):
    """`sweep(*words)` -> (exit status, output) of a replaced `finetune`; `sweep.calls`: its settings."""
    calls: list[Any] = []

    def run(cfg: Any, run_dir: Path) -> float | None:
        calls.append(cfg)
        if cfg.finetune.lr > sweep.fails_above:
            raise UserError("the loss is not finite")
        if cfg.finetune.lr == sweep.crashes_at:
            raise RuntimeError("no such kernel")
        return None if cfg.dry_run else (math.log10(cfg.finetune.lr) + 4) ** 2

    def call(*words: str, command: str = "finetune") -> tuple[int, str]:
        calls.clear()
        capfd.readouterr()
        try:
            main([command, "-m", f"output_dir={tmp_path}", "name=it", "dataset.root=x", *words])
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        return status, "".join(capfd.readouterr())

    for command in COMMANDS:
        monkeypatch.setitem(sys.modules, f"latentpath.commands.{command}", SimpleNamespace(run=run))
    sweep = SimpleNamespace(calls=calls, fails_above=1.0, crashes_at=None, folder=tmp_path / "it")
    sweep.call = call
    return sweep


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def trials(folder: Path, name: str) -> list[tuple[Any, ...]]:
    optuna = pytest.importorskip("optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    study = optuna.load_study(study_name=f"{name}/finetune", storage=storage)
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in study.trials]


def test_a_grid_ends_with_a_table_a_csv_and_a_chart(sweep):
    status, out = sweep.call("finetune.lr=1e-5,1e-4", "finetune.batch_size=8,16")
    assert status == 0
    assert "best: job 2, training loss 0, finetune.lr=0.0001 finetune.batch_size=8" in out
    table = rows(sweep.folder)
    assert [row["finetune.lr"] for row in table] == ["1e-05"] * 2 + ["0.0001"] * 2
    assert [float(row["result"]) for row in table] == pytest.approx([1, 1, 0, 0])
    for row in table:
        assert (sweep.folder / row["folder"]).is_dir()
    chart = ET.fromstring((sweep.folder / "sweep.svg").read_text())
    texts = {node.text for node in chart.iter("{http://www.w3.org/2000/svg}text")}
    assert {"training loss", "finetune.lr (log)", "finetune.batch_size"} <= texts
    assert len(list(chart.iter("{http://www.w3.org/2000/svg}title"))) == 2 * 4  # one a job and parameter


def test_a_grid_that_is_started_again_tells_of_all_jobs(sweep):
    sweep.call("finetune.lr=1e-5,1e-4")
    before = {row["finetune.lr"]: row["folder"] for row in rows(sweep.folder)}
    sweep.call("finetune.lr=1e-4,1e-3")
    table = rows(sweep.folder)
    assert [row["finetune.lr"] for row in table] == ["1e-05", "0.0001", "0.001"]
    assert all(row["folder"] == before.get(row["finetune.lr"], row["folder"]) for row in table)


def test_commands_of_one_sweep_folder_keep_their_records(sweep):
    sweep.call("finetune.lr=1e-5,1e-4")
    _, out = sweep.call("finetune.lr=1e-5,1e-4", command="classify")
    assert "best: job 0, validation accuracy 1," in out  # more is better there
    assert [row["command"] for row in rows(sweep.folder)] == ["finetune"] * 2 + ["classify"] * 2


def test_a_failed_job_does_not_end_the_others(sweep):
    sweep.fails_above, sweep.crashes_at = 5e-3, 1e-4
    status, out = sweep.call("finetune.lr=1e-2,1e-4,1e-3")
    assert status == 2
    assert len(sweep.calls) == 3
    assert "job 0 (finetune.lr=0.01) failed; the sweep continues" in out
    assert [row["status"] for row in rows(sweep.folder)] == ["failed", "failed", "complete"]
    assert [row["message"] for row in rows(sweep.folder)][:2] == [
        "the loss is not finite",
        "RuntimeError: no such kernel",
    ]
    assert sweep.call("finetune.lr=1e-3")[0] == 0  # the failures were another time's


def test_one_job_makes_no_sweep_table(sweep, tmp_path, monkeypatch):
    main(["finetune", f"output_dir={tmp_path}", "name=one", "dataset.root=x"])
    assert not list((tmp_path / "one").iterdir())


def test_folders_have_names_that_every_disk_takes(sweep):
    paths = "classifier.arch=/a/net,/b/net,net"
    words = (paths, f"sampler.negative_prompt={'x' * 300}", "finetune.lr=1e-4")
    for _ in range(2):  # the second time in the same folders
        assert sweep.call(*words)[0] == 0
        jobs = jobs_of(sweep.folder)
        assert len({job["folder"] for job in jobs}) == len(jobs) == 3
        assert all("/" not in job["folder"] and len(job["folder"]) <= 100 for job in jobs)
        assert all(job["folder"].startswith("classifier.arch=net,finetune.lr=0.0001") for job in jobs)


@pytest.mark.parametrize(
    "overrides, name",
    [
        ("", ""),
        ("finetune.lr=0.0001,seed=1", "finetune.lr=0.0001,seed=1"),
        ("model.name=/a b/sd15,seed=1", "model.name=sd15,seed=1-"),
        ("dataset.classes=[a/b,c/d]", "dataset.classes=b,c-d]-"),
    ],
)
def test_a_folder_is_named_after_its_overrides(overrides, name):
    cut = "[0-9a-f]{8}" if name.endswith("-") else ""
    assert re.fullmatch(re.escape(name) + cut, folder_name(overrides))


@pytest.mark.parametrize("subdir", ["${hydra.job.num}", "of_${seed}", "${hydra.job.override_dirname}"])
def test_folders_of_ones_own_names(sweep, subdir):
    assert sweep.call(f"hydra.sweep.subdir={subdir}", "seed=0,1")[0] == 0
    assert len(jobs_of(sweep.folder)) == 2


def test_excluded_keys_are_those_of_the_configuration(compose):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from latentpath.config.schema import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra_compose("run", return_hydra_config=True)
    assert tuple(cfg.hydra.job.config.override_dirname.exclude_keys) == UNNAMED


@pytest.mark.parametrize(
    "words, told",
    [
        (("name=a,b",), "name=a,b: the folder of a job"),
        (("experiment=demo,isic2019_64",), "would share one"),
        (("experiment=glob(*)",), "would share one"),
        (("dataset.root=choice(x,y)",), "would share one"),
        (("finetune.lr=interval(1e-5,1e-3)",), "needs hydra/sweeper=optuna"),
        (("++dataset.root=x,y",), "would share one"),
        (("hydra.sweep.subdir=all", "seed=0,1"), "seed has no part in hydra.sweep.subdir=all"),
        (("hydra.sweep.subdir=${seed}", "seed=0,1", "finetune.lr=1e-4,1e-3"), "finetune.lr has no part"),
        (
            ("hydra/sweeper=optuna", "finetune.lr=interval(nan,1)"),
            "finetune.lr=interval(nan,1): expected two finite",
        ),
        (("hydra/sweeper=optuna", "seed=1"), "nothing to search"),
        (("hydra/sweeper=optuna", "name=a,b"), "would share one"),
        (("hydra/sweeper=optuna", "seed=1,2", "hydra.sweeper.n_jobs=2"), "hydra/launcher=slurm"),
        (("hydra/sweeper=optuna", "seed=1,2", "hydra.sweeper.direction=up"), "minimize or maximize"),
        (("hydra/sweeper=optuna", "finetune.lr=interval(2,1)"), "finetune.lr=interval(2,1)"),
        (
            ("hydra/sweeper=optuna", "sampler=interval(1,2)"),
            "expected options of this config group",
        ),
    ],
)
def test_what_cannot_be_swept_is_told_before_the_first_job(sweep, words, told):
    status, out = sweep.call(*words)
    assert (status, sweep.calls) == (2, [])
    assert told in out
    assert "Traceback" not in out


def test_a_sweep_of_an_experiment_file_is_checked_too(sweep, tmp_path, capfd):
    (tmp_path / "experiment").mkdir()
    params = 'hydra: {sweeper: {params: {dataset.root: "x,y"}}}'
    (tmp_path / "experiment" / "swept.yaml").write_text(f"# @package _global_\n{params}\n")
    with pytest.raises(SystemExit) as end:
        main(["finetune", "-m", "--config-dir", str(tmp_path), f"output_dir={tmp_path}", "experiment=swept"])
    assert (end.value.code, sweep.calls) == (2, [])
    assert "dataset.root=x,y: the folder of a job" in capfd.readouterr().err


@pytest.mark.parametrize(
    "command", sorted(c.name for c in COMMANDS.values() if c.takes_config and not c.result)
)
def test_what_returns_no_number_cannot_be_optimised(sweep, command):
    status, out = sweep.call("hydra/sweeper=optuna", "seed=0,1", command=command)
    assert (status, sweep.calls) == (2, [])
    assert f"{command} returns no number" in out


def test_without_m_optuna_says_so(capsys):
    with pytest.raises(SystemExit):
        main(["finetune", "hydra/sweeper=optuna"])
    assert "needs -m" in capsys.readouterr().err


def test_n_trials_is_the_total_over_all_starts(sweep):
    assert sweep.call(*OPTUNA, "hydra.sweeper.n_trials=2")[0] == 0
    first = [cfg.finetune.lr for cfg in sweep.calls]
    assert len(set(first)) == 2
    assert sweep.call(*OPTUNA, "hydra.sweeper.n_trials=3")[0] == 0
    assert len(sweep.calls) == 1
    assert not {cfg.finetune.lr for cfg in sweep.calls} & set(first)
    status, out = sweep.call(*OPTUNA, "hydra.sweeper.n_trials=3")
    assert (status, sweep.calls) == (0, [])
    assert "best: job" in out
    assert len(rows(sweep.folder)) == 3


def test_the_direction_is_the_commands(sweep):
    """finetune and classify are one function here: the best of the one is the worst of the other."""
    optuna = pytest.importorskip("optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    for command in ("finetune", "classify"):
        sweep.call("hydra/sweeper=optuna", "seed=0,1,2", "hydra.sweeper.n_trials=2", command=command)
    storage = JournalStorage(JournalFileBackend(str(sweep.folder / "optuna.journal")))
    found = {study.study_name: study.direction.name for study in optuna.get_all_study_summaries(storage)}
    assert found == {"it/finetune": "MINIMIZE", "it/classify": "MAXIMIZE"}


def test_an_interval_of_a_whole_number_proposes_whole_numbers(sweep):
    words = ("finetune.batch_size=interval(8,64)", "seed=range(0,30,10)", "sampler=ddim,euler")
    assert sweep.call("hydra/sweeper=optuna", *words, "hydra.sweeper.n_trials=3")[0] == 0
    for cfg in sweep.calls:
        assert 8 <= cfg.finetune.batch_size <= 64
        assert cfg.seed in (0, 10, 20)
        assert cfg.sampler.solver in ("ddim", "euler")


def test_equal_trials_are_made_once(sweep):
    assert sweep.call("hydra/sweeper=optuna", "finetune.lr=1e-4,1e-3", "hydra.sweeper.n_trials=6")[0] == 0
    assert len(sweep.calls) == 2
    assert [state for _, state, _, _ in trials(sweep.folder, "it")] == ["COMPLETE"] * 6


def test_a_failed_trial_is_told_and_counted(sweep):
    sweep.fails_above = 1e-3
    status, out = sweep.call(*OPTUNA, "hydra.sweeper.n_trials=6")
    assert status == 0
    states = [state for _, state, _, _ in trials(sweep.folder, "it")]
    assert len(states) == 6
    assert states.count("FAIL") == sum(cfg.finetune.lr > 1e-3 for cfg in sweep.calls) > 0
    assert out.count("failed; the sweep continues") == states.count("FAIL")


def test_where_nothing_succeeds_the_sweep_ends_and_nothing_is_counted(sweep):
    sweep.fails_above = 0.0
    status, out = sweep.call(*OPTUNA, "hydra.sweeper.n_trials=20")
    assert status == 2
    assert "3 trials failed, and none succeeded" in out
    assert len(sweep.calls) == 3
    sweep.fails_above = 1.0
    assert sweep.call(*OPTUNA, "hydra.sweeper.n_trials=2")[0] == 0
    assert len(sweep.calls) == 2


def test_a_study_of_other_settings_is_not_mixed_in(sweep):
    sweep.call(*OPTUNA, "hydra.sweeper.n_trials=2")
    status, out = sweep.call(*OPTUNA, "hydra.sweeper.n_trials=4", "finetune.max_steps=7")
    assert (status, sweep.calls) == (2, [])
    assert "fixed: (none) there, finetune.max_steps=7 now" in out
    words = ("hydra.sweeper.n_trials=2", "finetune.max_steps=7", "overwrite=true")
    assert sweep.call(*OPTUNA, *words)[0] == 0
    assert len(sweep.calls) == 2


def test_half_a_line_in_the_journal_is_cut_off(sweep):
    sweep.call(*OPTUNA, "hydra.sweeper.n_trials=2")
    with (sweep.folder / "optuna.journal").open("a") as file:
        file.write('{"op_code":4,"wor')
    for total in (3, 4):
        assert sweep.call(*OPTUNA, f"hydra.sweeper.n_trials={total}")[0] == 0
    assert len(trials(sweep.folder, "it")) == 4


def start(tmp_path: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start a sweep in a process of its own, with a stand-in for `finetune` in it and in its jobs.

    With HALT_AT=n the stand-in notes its nth call and does not return while the file of calls is that long.
    """
    place = tmp_path / "stand_in"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(STAND_IN)
    line = ["finetune", "-m", f"output_dir={tmp_path}", "name=it", "dataset.root=x", *words]
    return subprocess.Popen(
        [sys.executable, "-m", "latentpath", *line],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(place), "CALLS": str(tmp_path / "calls"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_calls(tmp_path: Path, count: int, process: subprocess.Popen[str]) -> None:
    calls = tmp_path / "calls"
    while not calls.exists() or len(calls.read_text().split()) < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def test_killed_trials_are_taken_up_and_the_study_is_as_if_never_killed(sweep, tmp_path):
    words = (*OPTUNA, "hydra.sweeper.n_trials=7", "hydra.sweeper.n_startup_trials=3")
    sweep.fails_above = 5e-3  # as the stand-in
    for halt_at in (2, 5):
        process = start(tmp_path, *words, HALT_AT=str(halt_at))
        wait_for_calls(tmp_path, halt_at, process)
        process.kill()
        process.communicate()
    status, out = sweep.call(*words)
    assert status == 0, out
    assert "1 are taken up again" in out
    before_the_last_kill = [float(lr) for lr in (tmp_path / "calls").read_text().split()]
    made = before_the_last_kill + [cfg.finetune.lr for cfg in sweep.calls]
    killed, jobs = trials(tmp_path / "it", "it"), jobs_of(tmp_path / "it")
    (tmp_path / "it").rename(tmp_path / "killed")
    sweep.call(*words)
    assert list(dict.fromkeys(made)) == [cfg.finetune.lr for cfg in sweep.calls]
    assert len(made) == 7 + 2  # the two that were killed began twice
    assert killed == trials(tmp_path / "it", "it")
    assert len(jobs) == 7
    assert {job["status"] for job in jobs} <= {"complete", "failed"}


def test_trials_go_through_a_launcher_several_at_once(tmp_path):
    words = ("hydra/launcher=submitit_local", *OPTUNA, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    process = start(tmp_path, *words)
    out = process.communicate()[0]
    assert process.returncode == 0, out
    table = trials(tmp_path / "it", "it")
    assert [number for number, *_ in table] == [0, 1, 2, 3]
    for _, state, params, value in table:
        if params["finetune.lr"] > 5e-3:
            assert state == "FAIL"
        else:
            assert value == pytest.approx((math.log10(params["finetune.lr"]) + 4) ** 2)
    failed = sum(state == "FAIL" for _, state, *_ in table)
    assert out.count("failed: the loss is not finite") == failed
    assert len(rows(tmp_path / "it")) == 4


def test_a_second_process_waits_for_the_one_that_works_in_the_folder(tmp_path):
    first = start(tmp_path, "finetune.lr=1e-4", HALT_AT="1")
    wait_for_calls(tmp_path, 1, first)
    second = start(tmp_path, "finetune.lr=1e-4")
    assert second.stdout is not None
    assert any("waiting for it to end" in line for line in second.stdout)
    assert (first.poll(), second.poll()) == (None, None)
    (tmp_path / "calls").write_text("")  # lets the first go on
    assert (first.wait(), second.wait()) == (0, 0)


def test_two_sweepers_do_not_share_a_journal(sweep, tmp_path):
    first = start(tmp_path, *OPTUNA, "hydra.sweeper.n_trials=1", HALT_AT="1")
    wait_for_calls(tmp_path, 1, first)
    status, out = sweep.call(*OPTUNA, "hydra.sweeper.n_trials=1")
    assert "another process already makes the trials" in out
    assert (status, sweep.calls, first.poll()) == (2, [], None)
    (tmp_path / "calls").write_text("")
    assert first.wait() == 0


# A fine-tune that kills its own process within the ninth step.
KILLED = """
import os, signal
from latentpath.cli import main
from latentpath.training.finetune import UNetFinetuner
step = UNetFinetuner.training_step
def dies(self, batch, batch_idx):
    if int(batch["number"]) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)
UNetFinetuner.training_step = dies
main()
"""


def test_real_trials_resume_from_their_checkpoint(latentpath, tmp_path, tiny_sd, isic_32, monkeypatch):
    """Two trials of a real fine-tune, killed within the first: its complete steps are not made again."""
    from latentpath.training.finetune import UNetFinetuner

    line = (
        *("finetune", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"),
        *("experiment=demo", f"output_dir={tmp_path}", "name=real", f"model.name={tiny_sd}"),
        *(f"dataset.root={isic_32}", "dataset.image_size=32", "timesteps.num_inference_steps=2"),
        *("timesteps.swap_steps=[0]", "finetune.max_steps=12", "finetune.checkpoint_every=4"),
        *("finetune.batch_size=2", "finetune.lr=tag(log,interval(1e-5,1e-3))"),
    )
    killed = subprocess.run([sys.executable, "-c", KILLED, *line], cwd=tmp_path, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    folder = tmp_path / "real"
    (job,) = jobs_of(folder)
    assert job["status"] == "running"
    numbers: list[int] = []
    step = UNetFinetuner.training_step

    def counts(self, batch, batch_idx):
        numbers.append(int(batch["number"]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(UNetFinetuner, "training_step", counts)
    assert "1 are taken up again" in latentpath(*line)
    assert numbers == [*range(8, 12), *range(12)]  # the rest of the first trial, and the second
    first, second = jobs_of(folder)
    assert (first["folder"], first["status"], second["status"]) == (job["folder"], "complete", "complete")
    figures = json.loads((folder / first["folder"] / "finetune" / "manifest.json").read_text())["figures"]
    assert [value for *_, value in trials(folder, "real")] == [figures["loss"], second["result"]]


def texts_and_titles(chart):
    root = ET.fromstring(chart)
    return [
        ["".join(n.itertext()) for n in root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")]
        for tag in ("text", "title")
    ]


@pytest.mark.parametrize(
    ("values", "labels", "axis"),
    [
        (["1e-5", "1e-4", "1e-3"], ["1e−05", "0.0001", "0.001"], "lr (log)"),
        (["3", "3"], ["3"], "lr"),
        (["0", "100"], ["0", "100"], "lr"),
        (["-2", "5"], ["−2", "5"], "lr"),
        ([f"{2 + k / 7:.3f}" for k in range(20)], ["2", "3", "4"], "lr"),
        ([f"{2e-5 * 1.2**k:.3g}" for k in range(20)], ["3e−05", "0.0001", "0.0003"], "lr (log)"),
    ],
)
def test_a_sweep_chart_of_numbers_has_a_dot_for_each_job(values, labels, axis):
    chart = sweep_chart([({"lr": value}, 0.5) for value in values], ["lr"], label="CFRT")
    texts, titles = texts_and_titles(chart)
    assert {"CFRT", axis, *labels} <= set(texts)
    assert titles == [f"{value}: 0.5" for value in values]


def test_chart_of_words_and_of_a_job_without_a_result():
    jobs = [({"sampler": "ddim"}, 0.5), ({"sampler": "<euler>"}, 0.7), ({"sampler": "ddim"}, None)]
    chart = sweep_chart(jobs, ["sampler"], label="CFRT", best=0.7)
    assert chart == sweep_chart(jobs, ["sampler"], label="CFRT", best=0.7)
    texts, titles = texts_and_titles(chart)
    assert {"CFRT", "sampler", "ddim", "<euler>"} <= set(texts)
    assert titles == ["ddim: 0.5", "<euler>: 0.7", "ddim: no result"]
    assert chart.count(COLOURS["c1"]) == 1  # the best
    assert sweep_chart(jobs, [], label="CFRT") is None
    assert sweep_chart([({"a": "1"}, None)], ["a"], label="CFRT") is None
