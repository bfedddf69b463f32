"""`make test-slurm`: a SLURM of one node on this machine, real jobs on it, and all of it gone afterwards.

Installs Debian's slurm-wlm and munge where it may; says why and ends well where it cannot. The cluster lives
in a folder under /tmp, on ports of its own, and takes no notice of another SLURM on this machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LATENTPATH = str(Path(sys.executable).with_name("latentpath"))
DAEMONS = ("munged", "slurmctld", "slurmd")
JOB = ("finetune", "-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
RATES = ("0.0001", "0.0003")
SWEEP = (*JOB, f"finetune.lr={','.join(RATES)}")
PATIENCE_S = 600  # for any one thing to happen; the machine may be busy


class CannotRun(Exception):
    """Why there can be no SLURM here."""


def main() -> None:
    began = time.monotonic()
    # Both lead through every `finally`; a shell has the processes that it starts with & ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        install()
    except CannotRun as reason:
        print(f"test-slurm: skipped, {reason}")
        return
    folder = Path(tempfile.mkdtemp(prefix="latentpath-slurm-"))
    kept = "KEEP" in os.environ
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    try:
        with cluster(folder):
            say("a cluster of one node is up", began)
            os.chdir(folder)
            well(line("phantom", "dataset.phantom.count=40", "dataset.phantom.size=32"))
            for check in (
                a_sweep_is_as_many_jobs,
                a_failed_job_is_told_at_once,
                stopped_jobs_go_on_in_their_folders,
                two_processes_share_a_traversal,
                two_processes_stop_and_go_on_together,
                a_batch_script_of_ones_own_goes_on,
            ):
                check_began = time.monotonic()
                check()
                say(check.__name__.replace("_", " "), check_began)
    finally:
        print(f"logs: {folder}" if kept else "logs are removed; KEEP=1 keeps them", flush=True)
        if not kept:
            shutil.rmtree(folder)
    say("test-slurm: passed", began)


def a_sweep_is_as_many_jobs() -> None:
    """They are the straight runs that others are compared with."""
    well(line(*SWEEP, "name=straight"))
    for job in folders("straight").values():
        assert manifest(job)["status"] == "complete"


def a_failed_job_is_told_at_once() -> None:
    words = line(*JOB, "name=failing", "trainer.precision=bf16")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode != 0, "a sweep with a failed job must not end well"
    assert "trainer.precision is 'bf16'. Did you mean 'bf16-true'?" in done.stderr, done.stderr
    (job,) = jobs("failing")
    assert wait_for(lambda: state(job).get("JobState") != "COMPLETING") and state(job)["JobState"] == "FAILED"


def stopped_jobs_go_on_in_their_folders() -> None:
    """SLURM puts one back into the queue, which is SIGTERM; the other's time is up, which is SIGUSR2."""
    with running(line(*SWEEP, "name=stopped")) as command:
        wait_for(lambda: well_on_its_way("stopped", 2), command)
        first, second = jobs("stopped")
        subprocess.run(["scontrol", "requeue", first], check=True)
        subprocess.run(["scancel", "--signal=USR2", second], check=True)
    assert set(folders("stopped")) == set(folders("straight")), "a job has gone on in another folder"
    for job, sent in ((first, "SIGTERM"), (second, "SIGUSR2")):
        assert state(job)["Restarts"] == "1"
        assert f"stopped by {sent}" in printed("stopped", job)
        assert "resuming from" in printed("stopped", job)
    for name, straight in folders("straight").items():
        assert weights(straight) == weights(folders("stopped")[name]), "not as if it had not been stopped"


def two_processes_share_a_traversal() -> None:
    rate = RATES[0]
    words = (f"finetune.lr={rate}", f'from_run="straight/finetune.lr={rate}"', "name=shared")
    well(["srun", "--ntasks=2", *line("traverse", *words)])
    assert manifest(Path("outputs/shared"), "traverse")["status"] == "complete"
    shards = sorted(Path("outputs/shared/traverse/shards").glob("*.safetensors"))
    assert len(shards) == 8, shards  # two classes, four seeds


def two_processes_stop_and_go_on_together() -> None:
    """Of one job, which srun starts as trainer.devices says; their loss is one process's, to rounding."""
    words = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.precision=32-true")
    with running(line(*JOB, "name=together", f"finetune.lr={RATES[0]}", *words)) as command:
        wait_for(lambda: well_on_its_way("together", 1), command)
        (number,) = jobs("together")
        subprocess.run(["scancel", "--signal=USR2", number], check=True)
    assert state(number)["Restarts"] == "1"
    assert printed("together", number).count("resuming from") == 2
    (job,) = folders("together").values()
    loss, alone = manifest(job)["figures"]["loss"], manifest(straight_job())["figures"]["loss"]
    assert abs(loss / alone - 1) < 1e-3, (loss, alone)


def a_batch_script_of_ones_own_goes_on() -> None:
    """By the line that the README gives."""
    srun = shlex.join(["srun", *line("finetune", "name=batch", f"finetune.lr={RATES[0]}")])
    script = f"#!/bin/sh\n{srun} || {{ [ $? -eq 143 ] && scontrol requeue $SLURM_JOB_ID; }}\n"
    words = ["sbatch", "--parsable", "--requeue", "--open-mode=append", "--output=batch.txt"]
    number = subprocess.run(words, input=script, capture_output=True, text=True, check=True).stdout.strip()
    job = Path("outputs/batch")
    wait_for(lambda: steps(job) > 5)
    subprocess.run(["scancel", "--signal=TERM", number], check=True)
    wait_for(lambda: state(number)["JobState"] in ("COMPLETED", "FAILED", "CANCELLED"))
    assert state(number)["JobState"] == "COMPLETED", Path("batch.txt").read_text()
    assert state(number)["Restarts"] == "1"
    assert "resuming from" in Path("batch.txt").read_text()
    assert weights(job) == weights(straight_job())


def line(command: str, *words: str) -> list[str]:
    return [
        *(LATENTPATH, command, "--config-dir", str(HERE / "conf"), "experiment=slurm_test"),
        *("dataset.root=data", *words),
    ]


def well(words: Sequence[str]) -> None:
    """Run them; what they have printed is shown where they fail."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def folders(name: str) -> dict[str, Path]:
    """The jobs of a sweep, by the folder's name."""
    return {path.parent.name: path.parent for path in Path("outputs", name).glob("*/finetune")}


def straight_job() -> Path:
    return folders("straight")[f"finetune.lr={RATES[0]}"]


def jobs(name: str) -> list[str]:
    """Their numbers in SLURM."""
    pickles = Path("outputs", name, ".submitit").glob("*/*_submitted.pkl")
    return sorted(path.parent.name for path in pickles)


def printed(name: str, job: str) -> str:
    return "".join(file.read_text() for file in Path("outputs", name, ".submitit", job).glob("*.err"))


def state(job: str) -> dict[str, str]:
    told = subprocess.run(["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True)
    return dict(re.findall(r"(\w+)=(\S*)", told.stdout))


def well_on_its_way(name: str, jobs: int) -> bool:
    return sum(steps(job) > 5 for job in folders(name).values()) == jobs


def steps(job: Path) -> int:
    """So many are in its log."""
    log = job / "finetune" / "metrics.csv"
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


def manifest(job: Path, stage: str = "finetune") -> Any:
    return json.loads((job / stage / "manifest.json").read_text())


def weights(job: Path) -> bytes:
    return (job / "finetune" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()


def wait_for(true: Callable[[], bool], needed: subprocess.Popen | None = None) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not true():
        if needed is not None and needed.poll() is not None:
            raise RuntimeError(f"ended too early, with status {needed.returncode}: {needed.args}")
        if time.monotonic() > until:
            raise TimeoutError(f"waited {PATIENCE_S} s")
        time.sleep(0.2)
    return True


@contextmanager
def running(words: Sequence[str]) -> Iterator[subprocess.Popen]:
    """A command that is to end well after the block; what it has printed is shown where something fails."""
    with tempfile.TemporaryFile("w+") as out:
        command = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield command
            assert command.wait(PATIENCE_S) == 0, f"ended with {command.returncode}: {words}"
        except Exception:
            out.seek(0)
            print(out.read(), file=sys.stderr)
            raise
        finally:
            command.kill()
            command.wait()


def install() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise CannotRun("it needs Linux and root: SLURM's daemons start jobs as other users")
    os.environ["PATH"] += ":/usr/sbin"  # where Debian has the daemons
    if all(map(shutil.which, DAEMONS)):
        return
    if not shutil.which("apt-get"):
        raise CannotRun("there is no slurm-wlm, and no apt-get to install it with")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    get = ["apt-get", "-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
    for words in (["update"], ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]):
        done = subprocess.run([*get, *words], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise CannotRun(f"apt-get {words[0]} failed:\n{done.stderr.strip()}")
    if missing := [name for name in DAEMONS if not shutil.which(name)]:
        raise CannotRun(f"slurm-wlm and munge are installed, but not {', '.join(missing)}")


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """munged, slurmctld and slurmd, each with its files in `folder`; commands find them by SLURM_CONF."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        (HERE / "slurm.conf.in")
        .read_text()
        .format(folder=folder, host=socket.gethostname(), controller_port=free_port(), node_port=free_port())
    )
    os.environ["SLURM_CONF"] = str(configuration)
    files = [
        f"--{name}={folder}/{file}"
        for name, file in (
            ("key-file", "munge.key"),
            ("socket", "munge.socket"),
            ("pid-file", "munged.pid"),
            ("seed-file", "munged.seed"),
        )
    ]
    with ExitStack() as stack:
        stack.enter_context(daemon(folder, "munged", "--foreground", *files))
        wait_for((folder / "munge.socket").exists)
        stack.enter_context(daemon(folder, "slurmctld", "-D"))
        stack.enter_context(daemon(folder, "slurmd", "-D", "-N", "localhost"))
        stack.callback(cancel_all)
        wait_for(lambda: ask("sinfo", "--noheader", "--format=%T") == "idle")
        yield


@contextmanager
def daemon(folder: Path, *words: str) -> Iterator[None]:
    """In a session of its own, so that Ctrl-C leaves it to us to end it."""
    with (folder / f"{words[0]}.out").open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def cancel_all() -> None:
    """Before slurmd goes: the processes of a job would outlive it."""
    for words in ((), ("--signal=KILL",)):
        if ask("squeue", "--noheader"):
            subprocess.run(["scancel", *words, "--user=root"])
            for _ in range(150):
                if not ask("squeue", "--noheader"):
                    return
                time.sleep(0.2)


def ask(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.strip()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def say(what: str, since: float) -> None:
    print(f"{what}: {time.monotonic() - since:.0f} s", flush=True)


if __name__ == "__main__":
    main()
