"""Opens, resumes or skips the folder of a stage, and completes it with a manifest of how it was made."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast

from latentpath.config.methods import MethodsConfig
from latentpath.config.plugins import fingerprints
from latentpath.config.schema import Config
from latentpath.config.written import flat, written_config
from latentpath.errors import UserError
from latentpath.runs.command import Command
from latentpath.runs.digests import MANIFEST, digests_below, sealed
from latentpath.runs.files import (
    Json,
    create_whole,
    json_text,
    make_folder,
    read_json,
    read_yaml,
    write_json,
    write_text,
)
from latentpath.runs.locks import holding
from latentpath.runs.provenance import versions
from latentpath.runs.ranks import SINGLE, Rank, barrier
from latentpath.runs.temporary import remove, remove_abandoned

# Settings that were added later, with the value that keeps the earlier behaviour: older stages stay valid.
LATER = {
    "attribute.orders": [],
    "classifier.through_vae": False,
    "dataset.judge_fraction": 0.0,
    "dataset.stratify": False,
    "inversion.rounds": 1,
    "metric.vae_precision": "32-true",
}
# Settings that affect speed or location only, so a change does not invalidate a stage.
INDIFFERENT = (
    "sampler.batch_size",
    "sampler.shard_seeds",
    "sampler.channels_last",
    "sampler.compile",
    "sampler.attention",
    "sampler.process",
    "sampler.processes",
    "finetune.log_every",
    "finetune.checkpoint_every",
    "finetune.sample_every",
    "finetune.compile",
    "finetune.channels_last",
    "finetune.gradient_checkpointing",
    "classifier.round_trips",  # these measure the judge, and do not change it
    "classifier.folds",
    "sliders.attributes",  # each is a stage of its own
    "sliders.checkpoint_every",
    *(f"method.{method.name}.swept" for method in fields(MethodsConfig)),  # true wherever there is a section
)
# A validation does not change the training unless finetune.monitor is set.
VALIDATION = tuple(f"finetune.{key}" for key in ("monitor", "patience", "val_images", "val_every_steps"))


@dataclass
class Stage:
    """The folder of a stage that is open."""

    path: Path
    complete: bool
    figures: Json = field(default_factory=dict)  # stored in the manifest, e.g. {"unet_calls": 950}
    left: str = ""  # work that other processes still have to do; the last process completes the stage


@contextmanager
def open_stage(
    run_dir: Path,
    command: Command,
    cfg: Config,
    *,
    weights: Mapping[str, str] | None = None,
    rank: Rank = SINGLE,
    shared: bool = False,
) -> Iterator[Stage]:
    """Open the stage of `command` in `run_dir`; leaving the block without an error marks it complete.

    `stage.complete` is true if the folder holds the complete work of this configuration and these `weights`
    (name -> fingerprint of other inputs). An incomplete folder with the same configuration is yielded as it
    is, to be resumed.

    A second start of the same run waits here until the first one ends. The connected processes of a job
    (`rank`) open the stage together, and rank 0 completes it. With `shared`, processes that were started
    separately open it together, and the last one (whose `stage.left` is empty) completes it.

    Raises UserError if an upstream stage is missing, incomplete, or made with another configuration than
    `cfg`; and if this folder was made with another configuration (the message names the differences), unless
    `cfg.overwrite` is set.
    """
    path = run_dir / command.name
    config = _relevant(cfg, command)
    inputs = {up.name: _read_complete(run_dir, up, cfg, needed_by=command) for up in command.upstream(cfg)}
    weights = dict(weights or {})
    fingerprint = _hash({"config": config, "upstream": inputs, "weights": weights})

    def look() -> Json | None:
        """Return the manifest, or None if the stage is to be overwritten."""
        manifest = _read(path)
        if not manifest or manifest["fingerprint"] == fingerprint:
            return manifest
        if not cfg.overwrite:
            raise UserError(_differences(path, manifest, config, inputs, weights))
        return None

    manifest = look()
    if manifest and manifest["status"] == "complete":
        barrier(rank)
        yield Stage(path, complete=True, figures=manifest["figures"])
        return
    make_folder(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    with holding(lock, shared=shared) if rank.is_zero else nullcontext():
        if rank.is_zero and look() is None and _read(path):
            remove(path)
        barrier(rank)
        manifest = look()
        if manifest and manifest["status"] == "complete":  # by another process, while this one waited
            yield Stage(path, complete=True, figures=manifest["figures"])
            return
        stage = Stage(path, complete=False)
        make_folder(path)
        if rank.is_zero:
            remove_abandoned(path)
        record = {
            "stage": command.name,
            "status": "started",
            "fingerprint": fingerprint,
            "config": config,
            "upstream": inputs,
            "weights": weights,
            "made": uuid.uuid4().hex[:12],
            "versions": versions(),
            "seconds": 0.0,
            "figures": {},
        }
        record |= {key: value for key, value in _claim(path, record).items() if key in ("made", "seconds")}
        _write_config(path, cfg)
        began = time.monotonic()
        try:
            yield stage
            record["status"] = "started" if stage.left else "complete"
        finally:
            record["seconds"] += round(time.monotonic() - began, 2)
            record["figures"] = stage.figures
            if not stage.left and rank.is_zero:
                if record["status"] == "complete":
                    record = sealed({**record, "files": digests_below(path)})
                write_json(path / MANIFEST, record)


def stage_dir(run_dir: Path, name: str, cfg: Config) -> Path:
    """Return the folder of a stage: in this run, else in `cfg.from_run`, else in the run that it is from."""
    places, outputs, run, followed = [run_dir / name], Path(cfg.output_dir), cfg.from_run, []
    while run and run not in followed:
        followed.append(run)
        places.append(outputs / run / name)
        run = _from_run_of(outputs / run)
    return next((place for place in places if place.exists()), places[:2][-1])


def _from_run_of(run: Path) -> str | None:
    """Return the run from which `run` took the stages that it lacks, if there is one."""
    origins = (read_yaml(file).get("from_run") for file in sorted(run.glob("*/config.yaml")))
    return next((str(origin) for origin in origins if origin), None)


def seconds_of(path: Path) -> float | None:
    """Return how long the complete stage in the folder `path` took, or None if there is none."""
    manifest = _read(path)
    return manifest.get("seconds") if manifest and manifest["status"] == "complete" else None


def reusable(run_dir: Path, command: Command, cfg: Config) -> bool:
    """Return whether only `cfg.from_run` has the stage, complete and with the same configuration."""
    path = stage_dir(run_dir, command.name, cfg)
    manifest = None if path == run_dir / command.name else _read(path)
    if not manifest or manifest["status"] != "complete":
        return False
    return _without_root(manifest["config"]) == _without_root(_relevant(cfg, command))


def _relevant(cfg: Config, command: Command) -> Json:
    from omegaconf import OmegaConf

    plain = written_config(cfg, digests=True) if OmegaConf.is_config(cfg) else cfg
    settings = dict(flat(plain))
    indifferent = INDIFFERENT if settings.get("finetune.monitor") else (*INDIFFERENT, *VALIDATION)
    found = {
        key: value
        for key, value in settings.items()
        if any(f"{key}.".startswith(f"{decisive}.") for decisive in command.decided_by)
        and key not in indifferent
        and LATER.get(key, ...) != value
        and (value is not None or not key.startswith("method."))
    }
    return found | fingerprints(found, cast(list[str], settings.get("plugins", [])))


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> Json | None:
    keys = ("status", "fingerprint", "config", "upstream", "figures")
    return read_json(path / MANIFEST, keys=keys) if (path / MANIFEST).exists() else None


def check_complete(run_dir: Path, command: Command, cfg: Config, *, needed_by: Command) -> Json:
    """Return the manifest of a stage. Raises UserError if it is missing or was not finished."""
    path = stage_dir(run_dir, command.name, cfg)
    manifest = _read(path)
    if not manifest or manifest["status"] != "complete":
        state = "was not finished" if manifest else "is missing"
        raise UserError(
            f"{needed_by.name} needs {path}, which {state}. Run `latentpath {command.called} "
            f"name={run_dir.name}` with the same overrides first, or `latentpath run`, which does all its "
            "stages in order; from_run=... takes it from another run."
        )
    return manifest


def _read_complete(run_dir: Path, command: Command, cfg: Config, *, needed_by: Command) -> str:
    manifest = check_complete(run_dir, command, cfg, needed_by=needed_by)
    name, path = command.name, stage_dir(run_dir, command.name, cfg)
    run = path.parents[name.count("/")]
    there, here = (_without_root(config) for config in (manifest["config"], _relevant(cfg, command)))
    if there != here:
        mended = {**manifest, "config": there}
        raise UserError(_differences(path, mended, here, manifest["upstream"], manifest.get("weights", {})))
    for up, value in manifest["upstream"].items():
        if (made := _read(stage_dir(run, up, cfg))) is None or _identity(made) != value:
            raise UserError(
                f"{path} was made from an earlier {up}, which has been made anew since. Run "
                f"`latentpath {command.called} name={run.name} overwrite=true` with the same overrides first."
            )
    return _identity(manifest)


def _without_root(config: Json) -> Json:
    """Drop dataset.root, which does not matter to a stage that reads only other stages."""
    return {key: value for key, value in config.items() if key != "dataset.root"}


def _identity(manifest: Json) -> str:
    """Identify a stage for the stages that read it: its configuration and the time it was made."""
    return f"{manifest['fingerprint']}-{manifest.get('made', '')}"


def _differences(path: Path, manifest: dict, config: dict, inputs: dict, weights: dict) -> str:
    old = manifest["config"]
    lines = [
        f"  {key}: {old.get(key, '(absent)')} there, {config.get(key, '(absent)')} now"
        for key in sorted({*old, *config})
        if old.get(key, ...) != config.get(key, ...)
    ]
    lines += [
        f"  {up} was made anew since" for up, value in inputs.items() if manifest["upstream"].get(up) != value
    ]
    old = manifest.get("weights", {})
    lines += [
        f"  the weights of {part}: {old.get(part, '(not noted)')} there, {value} now"
        for part, value in weights.items()
        if old.get(part) != value
    ]
    return (
        f"{path} was made with another configuration, and the two are not mixed:\n"
        + "\n".join(lines)
        + "\nChoose another name=..., or overwrite=true to discard it."
    )


def _claim(path: Path, record: Json) -> Json:
    """Return the existing manifest, or write and return `record` if this process opens the stage first."""
    first = create_whole(path / MANIFEST, json_text(record).encode())
    return record if first else read_json(path / MANIFEST)


def _write_config(path: Path, cfg: Config) -> None:
    from omegaconf import OmegaConf

    if OmegaConf.is_config(cfg):
        write_text(path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(written_config(cfg))))
