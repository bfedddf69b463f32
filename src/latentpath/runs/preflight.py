"""Checks, before anything slow, that everything is there that a command will need, and says what to do."""

from __future__ import annotations

import json
import os
import shlex
import socket
import threading
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs.base_folder import check_base
from latentpath.runs.command import Command
from latentpath.runs.packaged import installed
from latentpath.runs.stages import check_complete, reusable
from latentpath.runs.weights import ENVIRONMENT, Need, WeightsFolder, checkpoints, missing, missing_of, needed

# tracker -> (the module it needs, what to install)
TRACKERS = {
    "wandb": ("wandb", "wandb"),
    "tensorboard": ("tensorboard", "'latentpath[trackers]'"),
    "mlflow": ("mlflow", "'latentpath[trackers]'"),
}
WANDB_REFUSES = "/\\#?%:"  # in the name of a project
SMALLEST_FOR_LPIPS = 32  # pixels: the networks of LPIPS halve an image five times


def check_ahead(cfg: Config, command: Command, run_dir: Path) -> None:
    """Raise UserError for what would stop `command`, or a stage that it calls, after minutes or hours."""
    stages = command.stages(cfg) or (command,)
    if any(stage.decided_by for stage in stages) and not cfg.dry_run:
        check_accelerator(cfg.trainer.accelerator)
    if any("metrics" in stage.weights(cfg) for stage in stages):
        _check_metrics(cfg)
    if any(stage.decided_by for stage in stages):
        check_tracker(cfg.logger.name, cfg.logger.project)
    check_weights(cfg, command, run_dir)
    if stages != (command,):
        made = {stage.name for stage in stages}
        for stage in stages:
            for up in stage.upstream(cfg):
                if up.name not in made:
                    check_complete(run_dir, up, cfg, needed_by=stage)
    if any("base" in stage.weights(cfg) for stage in stages):
        model, weights = cfg.model, WeightsFolder(cfg.weights_dir)
        own = {"config": model.config, "only_config": cfg.dry_run}
        check_base(model.name, model.revision, model.vae, weights, **own)


def check_tracker(name: str, project: str) -> None:
    """Raise UserError if the tracker is not installed, cannot be reached, or would refuse the project."""
    if name not in TRACKERS:
        return
    module, package = TRACKERS[name]
    if find_spec(module) is None:
        raise UserError(f"logger={name}: not installed; run `pip install {package}`.")
    if name == "wandb":
        if not project.strip() or set(project) & set(WANDB_REFUSES) or len(project) > 128:
            raise UserError(
                f"logger.project is {project!r}: wandb takes 1 to 128 characters, none of {WANDB_REFUSES}. "
                "A team goes into the environment variable WANDB_ENTITY."
            )
        _check_wandb_server()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if name == "mlflow" and uri:
        scheme = urlsplit(uri).scheme
        if scheme in ("", "file"):
            raise UserError(
                f"MLFLOW_TRACKING_URI is {uri!r}, a folder, which MLflow no longer writes to. Give a server "
                "or a database, such as sqlite:///mlflow.db."
            )
        if scheme in ("http", "https") and not _answers(uri):
            raise UserError(
                f"MLFLOW_TRACKING_URI is {uri}, which does not answer. Start that server, or unset the "
                "variable: then the records go to mlflow.db beside the run."
            )


def _check_wandb_server() -> None:
    """Raise UserError if wandb is to be online and has no API key, or its server does not answer."""
    mode = os.environ.get("WANDB_MODE", "")
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    keyed = bool(os.environ.get("WANDB_API_KEY")) or _in_netrc(urlsplit(server).netloc)
    offline = "WANDB_MODE=offline writes the record here, to upload later."
    if mode == "online" and not keyed:
        raise UserError(
            f"WANDB_MODE is online, but there is no API key for {server}. Run `wandb login`, or set "
            f"WANDB_API_KEY. {offline}"
        )
    if mode in ("", "online") and keyed and not _answers(server):
        raise UserError(f"logger=wandb: {server} does not answer. {offline}")


def _in_netrc(host: str) -> bool:
    """Return whether the user's netrc file, in which `wandb login` stores the key, has the host."""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


def check_accelerator(accelerator: str) -> None:
    """Raise UserError if this machine does not have what `trainer.accelerator` asks for."""
    if accelerator in ("auto", "cpu"):
        return
    import torch

    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.accelerator is mps, but this machine has no Apple GPU that torch can use.")
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator is {accelerator}, but torch sees no CUDA device here; "
            "trainer.accelerator=auto takes the CPU then."
        )


def _check_metrics(cfg: Config) -> None:
    size = cfg.dataset.image_size
    if cfg.metric.lpips and size < SMALLEST_FOR_LPIPS:
        raise UserError(
            f"metric.lpips is {list(cfg.metric.lpips)} and dataset.image_size is {size}, but LPIPS needs "
            f"{SMALLEST_FOR_LPIPS} pixels or more; metric.lpips=[] goes without it."
        )


def check_weights(cfg: Config, command: Command, run_dir: Path) -> None:
    """Raise UserError that names every missing weight file of `command`.

    The caches of the hub and of torch are searched too. With a folder of weights or HF_HUB_OFFLINE, no server
    is contacted. Otherwise a missing file is an error only if the hub does not answer within a second.
    """
    folder = WeightsFolder(cfg.weights_dir)
    lacking = {
        need: files
        for need in needed(cfg, weights_to_load(cfg, command, run_dir))
        if (files := missing(need, folder.path)) and not _cached(need)
        if folder.named or not need.optional  # else these figures are n/a, with a log message
    }
    if not lacking or (not folder.named and not _offline() and _answers(_endpoint())):
        return
    raise UserError(_say(lacking, folder.path if folder.named else None))


def weights_to_load(cfg: Config, command: Command, run_dir: Path) -> list[str]:
    """List which of "base", "classifier" and "metrics" `command` will load, except for complete stages."""
    stages = [
        stage
        for stage in command.stages(cfg) or (command,)
        if not _complete(cfg, stage, run_dir)
        and not (command.stages(cfg) and cfg.from_run and stage.reusable and reusable(run_dir, stage, cfg))
    ]
    return list(dict.fromkeys(name for stage in stages for name in stage.weights(cfg)))


def _complete(cfg: Config, stage: Command, run_dir: Path) -> bool:
    """Return whether the stage is complete and will not load its weights even to compare them."""
    if cfg.overwrite or stage.compares_weights:
        return False
    try:
        return json.loads((run_dir / stage.name / "manifest.json").read_text())["status"] == "complete"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _cached(need: Need) -> bool:
    """Return whether the files are in the cache of the hub's client or of torch, or an installed package."""
    if need.optional:
        return any((checkpoints() / name).is_file() for name in need.files[0])
    from huggingface_hub import constants, try_to_load_from_cache

    if need.kind == "timm":  # the hub id would be known only to timm, which takes seconds to import
        pattern = f"models--timm--{need.source}.*/snapshots/*/model.*"
        return installed(need.source) or any(Path(constants.HF_HUB_CACHE).glob(pattern))

    def find(name: str) -> Path | None:
        found = try_to_load_from_cache(need.source, name, revision=need.revision)
        return Path(found) if isinstance(found, str) else None

    return not missing_of(need, find)


def _say(lacking: dict[Need, list[str]], root: Path | None) -> str:
    folder = root or Path("weights")
    lines, overrides = [], []
    lists: dict[str, list[str]] = {"metric.lpips": [], "metric.features": []}
    for need, files in lacking.items():
        place = folder / need.folder
        whole = len(files) >= len(need.files) and len(files) > 1
        for file in [f"{place}{os.sep} (the whole folder)"] if whole else [str(place / f) for f in files]:
            lines.append(f"  {' '.join(need.overrides)}: {file}")
        if need.optional:
            key, _, name = need.overrides[0].partition("=")
            lists[key].append(name.strip("[]"))
        else:
            overrides += need.overrides
    overrides += [f"{key}=[{','.join(names)}]" for key, names in lists.items() if names or "lpips" in key]
    missing_from = f"not in {root}" if root else f"not on this machine, and {_endpoint()} cannot be reached"
    command = ["latentpath", "fetch", *overrides, f"weights_dir={folder}"]
    return (
        f"weights that this configuration needs are {missing_from}:\n"
        + "\n".join(lines)
        + f"\nOn a machine with network run\n  {shlex.join(command)}\nand copy the folder "
        + (f"to {root} here." if root else f"here, then give weights_dir=... or set {ENVIRONMENT}.")
        + (" metric.lpips=[] goes without LPIPS." if lists["metric.lpips"] else "")
        + (" metric.features=[judge] goes without other networks." if lists["metric.features"] else "")
    )


def _offline() -> bool:
    wanted = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in wanted)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _answers(url: str, *, seconds: float = 1.0) -> bool:
    """Return whether a server answers; behind a proxy this cannot be known, so return True."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    parts, answered = urlsplit(url), threading.Event()

    def call() -> None:
        try:
            port = parts.port or (80 if parts.scheme == "http" else 443)
            socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
            answered.set()
        except OSError:
            pass

    # In a thread, because a DNS lookup has no timeout.
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
