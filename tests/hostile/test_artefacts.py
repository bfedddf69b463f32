"""Every file that a stage reads, damaged in every way: status 2, one message naming it, nothing executed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CANARY = "HOSTILE_CANARY"


class Canary:
    """When its pickle is executed, it makes the file that the environment variable HOSTILE_CANARY names."""

    def __reduce__(self) -> Any:
        return (eval, (f"open(__import__('os').environ[{CANARY!r}], 'w').close()",))


def truncated(file: Path, content: bytes) -> None:
    file.write_bytes(content[: len(content) // 2])


def flipped(file: Path, content: bytes) -> None:
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes([content[half] ^ 0xFF]) + content[half + 1 :])


def emptied(file: Path, content: bytes) -> None:
    file.write_bytes(b"")


def a_folder(file: Path, content: bytes) -> None:
    file.mkdir()


def pickled(file: Path, content: bytes) -> None:
    file.write_bytes(pickle.dumps(Canary()))


def other_json(file: Path, content: bytes) -> None:
    file.write_text("[1, null]")


DAMAGES: dict[str, Callable[[Path, bytes], None]] = {
    damage.__name__: damage for damage in (truncated, flipped, emptied, a_folder, pickled, other_json)
}
# The stage that is made again, and the files of finished stages that it reads.
READ = {
    "traverse": [
        "finetune/manifest.json",
        "finetune/pipeline/scheduler/scheduler_config.json",
        "finetune/pipeline/unet/config.json",
        "finetune/pipeline/unet/diffusion_pytorch_model.safetensors",
        "finetune/pipeline/text_encoder/model.safetensors",
        "finetune/pipeline/tokenizer/tokenizer.json",
    ],
    "evaluate": [
        "classify/manifest.json",
        "classify/classifier.json",
        "classify/classifier.safetensors",
        "finetune/pipeline/vae/diffusion_pytorch_model.safetensors",
        "traverse/manifest.json",
        "traverse/plan.json",
        "traverse/index.parquet",
        "traverse/shards/*.safetensors",
        "traverse/base/index.parquet",
        "traverse/base/shards/*.safetensors",
    ],
    "report": [
        "classify/metrics.json",
        "evaluate/manifest.json",
        "evaluate/metrics.json",
        "evaluate/scores.parquet",
        "evaluate/figures.parquet",
        "evaluate/examples.parquet",
        "evaluate/seeds.parquet",
        "evaluate/config.yaml",
        "evaluate/tables/*.csv",
        "evaluate/examples/*.png",
        "finetune/metrics.csv",
        "traverse/plan.json",
        "traverse/index.parquet",
        *(f"{stage}/config.yaml" for stage in ("classify", "finetune", "traverse")),
    ],
}
# The commands that take a run's folder, and what they read in it.
READ_IN_FOLDER = {
    "cfrt": ["evaluate/scores.parquet"],
    "leaderboard": ["evaluate/scores.parquet", "evaluate/metrics.json", "evaluate/figures.parquet"],
    "power": ["evaluate/seeds.parquet"],
}
CASES = [(stage, pattern) for stage, patterns in READ.items() for pattern in patterns]


class Harm:
    """`harm(stage, pattern, damage)` damages a file and calls its reader: (file, how that ended)."""

    def __init__(self, finished: Path, outputs: Path, cli: Callable[..., Any], words: list[str]) -> None:
        self.finished, self.outputs, self.cli, self.words = finished, outputs, cli, words

    def __call__(self, stage: str, pattern: str, damage: str) -> tuple[Path, Any]:
        shutil.rmtree(self.outputs, ignore_errors=True)
        shutil.copytree(self.finished, self.outputs, copy_function=os.link)
        for later in list(READ)[list(READ).index(stage) :]:
            shutil.rmtree(self.outputs / "tiny" / later)
        file = sorted((self.outputs / "tiny").glob(pattern))[0]
        content = file.read_bytes()
        file.unlink()
        DAMAGES[damage](file, content)
        return file, self.run(stage)

    def run(self, stage: str) -> Any:
        return self.cli(stage, *self.words, f"output_dir={self.outputs}")


@pytest.fixture
def harm(finished: Path, tiny_job: list[str], cli, tmp_path, monkeypatch) -> Harm:
    monkeypatch.setenv(CANARY, str(tmp_path / "executed"))
    return Harm(finished, tmp_path / "outputs", cli, tiny_job)


def faults_of(harm, stage: str, pattern: str, damage: str, canary: Path) -> list[str]:
    """What was wrong with the answer to a damaged file: nothing if it was refused by name."""
    case = f"{stage} with {pattern} {damage}"
    try:
        file, ended = harm(stage, pattern, damage)
    except Exception as error:
        return [f"{case}: {type(error).__name__}: {error}"]
    found = [f"{case}: a planted pickle was executed"] if canary.exists() else []
    named = file.name in ended.err or str(file.parent) in ended.err
    if ended.status == 2 and ended.is_plain and not named:
        found.append(f"{case}: not named in {ended.err[-300:]!r}")
    if ended.status not in (0, 2) or not ended.is_plain:
        found.append(f"{case}: status {ended.status}: {ended.err[-300:]}")
    if ended.status == 0:
        found.append(f"{case}: taken as it is")
    return found


@pytest.mark.hostile
@pytest.mark.parametrize("stage, pattern", CASES, ids=[f"{stage}-{pattern}" for stage, pattern in CASES])
def test_a_damaged_file_is_named_and_never_executed(harm, rng, tried, tmp_path, damages, stage, pattern):
    faults, chosen = [], rng.sample(list(DAMAGES), min(damages, len(DAMAGES)))
    for damage in chosen:
        faults += faults_of(harm, stage, pattern, damage, tmp_path / "executed")
    tried("artefacts", len(chosen))
    assert not faults, "\n".join(faults)


@pytest.mark.hostile
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", READ_IN_FOLDER)
def test_a_command_that_takes_a_folder_names_what_is_damaged_in_it(
    finished, cli, tmp_path, tried, monkeypatch, command, damage
):
    monkeypatch.setenv(CANARY, str(tmp_path / "executed"))
    faults = []
    for place in READ_IN_FOLDER[command]:
        run = Path(shutil.copytree(finished / "tiny", tmp_path / place.replace("/", "-") / "tiny"))
        file, content = run / place, (run / place).read_bytes()
        file.unlink()
        DAMAGES[damage](file, content)
        ended = cli(command, str(run))
        if ended.status != 2 or not ended.is_plain or file.name not in ended.err:
            faults.append(f"{place}: status {ended.status}: {ended.err[-300:]}")
    tried("artefacts", len(READ_IN_FOLDER[command]))
    assert not faults and not (tmp_path / "executed").exists(), "\n".join(faults)


@pytest.mark.hostile
def test_a_damaged_shard_alone_is_made_again(harm, tried):
    """The message says what to delete; then the same command makes this shard, to the byte, and no other."""
    file, ended = harm("evaluate", "traverse/shards/*.safetensors", "flipped")
    stage = file.parents[1]
    assert ended.status == 2
    assert f"Delete {file} and {stage / 'manifest.json'}, and run `latentpath traverse` again" in ended.err
    digests = json.loads((stage / "manifest.json").read_text())["files"]
    others = {shard: shard.stat().st_ino for shard in file.parent.iterdir() if shard != file}
    file.unlink()
    (stage / "manifest.json").unlink()
    assert harm.run("traverse").status == 0
    again = json.loads((stage / "manifest.json").read_text())["files"]
    assert again | {"config.yaml": ""} == digests | {"config.yaml": ""}  # it names the folder of outputs
    assert {shard: shard.stat().st_ino for shard in others} == others
    tried("artefacts", 1)
