"""`latentpath fetch`: download the weights that a configuration needs, for nodes without network."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs.files import make_folder, write_json, write_whole
from latentpath.runs.weights import ENVIRONMENT, RECORD, Need, WeightsFolder, missing, needed

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> None:
    """Download the weights that are missing in `cfg.weights_dir`; contact no server for existing ones."""
    root = WeightsFolder(cfg.weights_dir).path
    if root is None:
        raise UserError(f"fetch needs a folder: weights_dir=/scratch/weights, or set {ENVIRONMENT}")
    needs = needed(cfg, ("base", "classifier", "metrics"))
    for need in needs:
        place = root / need.folder
        lacking = missing(need, root)
        if not lacking:
            log.info("already there: %s in %s", need.source, place)
            continue
        log.info("fetching %s to %s", need.source, place)
        for name in lacking:
            (place / name).unlink(missing_ok=True)  # a truncated copy would count as complete
        make_folder(place)
        try:
            _FETCH[need.kind](need, place)
        except UserError:
            raise
        except Exception as error:  # of four libraries; the user needs the same answer to each
            raise UserError(_failure(need, place, error)) from error
        if lacking := missing(need, root):
            raise UserError(
                f"{need.source} has no {', '.join(lacking)}. Only safetensors are taken, for a pickle can "
                "run code; convert it where you trust it, and put the result there."
            )
    if needs:
        log.info("all there. Where there is no network: copy %s, and give weights_dir=that/folder", root)
    else:
        log.info("nothing to fetch: all that this configuration needs ships with the package")


def _from_hub(need: Need, place: Path) -> None:
    names = [name for names in need.files for name in names]
    whole = [name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")]
    shards = [f"{name}-*-of-*.safetensors" for name in whole]
    _download(need.source, need.revision, place, [*names, *shards, "tokenizer/*.json", "tokenizer/*.txt"])


def _from_timm(need: Need, place: Path) -> None:
    import timm

    settings = timm.get_pretrained_cfg(need.source) if timm.is_model(need.source) else None
    if settings is None or not settings.hf_hub_id:
        raise UserError(
            f"classifier.arch={need.source}: timm has no pretrained weights of it; choose another, or train "
            "from random weights with classifier.pretrained=false"
        )
    name = settings.hf_hub_filename or "model.safetensors"
    if not name.endswith(".safetensors"):
        raise UserError(
            f"classifier.arch={need.source}: its weights {name} are a pickle, which can run code; choose "
            "another"
        )
    _download(settings.hf_hub_id, None, place, [name], rename={name: "model.safetensors"})


def _download(
    hub_id: str, revision: str | None, place: Path, patterns: list[str], rename: dict[str, str] | None = None
) -> None:
    """Download the matching files of a hub model, all from the same commit even if the branch moves."""
    from huggingface_hub import HfApi, snapshot_download

    commit = HfApi().model_info(hub_id, revision=revision, timeout=10).sha
    licence = ["README.md", "LICENSE*"]  # it may ask to be kept with them
    snapshot_download(hub_id, revision=commit, local_dir=place, allow_patterns=[*patterns, *licence])
    for old, new in (rename or {}).items():
        (place / old).replace(place / new)
    _record(place, source=hub_id, revision=revision, commit=commit)


def _from_url(need: Need, place: Path) -> None:
    """Download a pickle (no other format exists); check its hash and read it with weights_only."""
    import torch

    name = need.files[0][0]
    digits = Path(name).stem.rsplit("-", 1)[1]
    torch.hub.download_url_to_file(need.source, str(place / name), hash_prefix=digits)


def _from_xrayvision(need: Need, place: Path) -> None:
    """Download a fully pickled network without a published hash; read and keep only its tensors."""
    import torch
    from safetensors.torch import save

    from latentpath.runs.inert_pickle import tensors_of

    pickled, kept = place / ".pickled", place / need.files[0][0]
    try:
        torch.hub.download_url_to_file(need.source, str(pickled))
        tensors = {name: value.contiguous() for name, value in tensors_of(pickled).items()}
        write_whole(kept, save(tensors))
    finally:
        pickled.unlink(missing_ok=True)
    _record(place, source=need.source)


_FETCH = {
    "pipeline": _from_hub,
    "vae": _from_hub,
    "timm": _from_timm,
    "torchvision": _from_url,
    "inception": _from_url,
    "xrayvision": _from_xrayvision,
}


def _record(place: Path, **origin: str | None) -> None:
    """Record the source, sizes and hashes of the files, by which a copy can be checked."""
    files = {}
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place)
        if file.is_file() and name.parts[0] != ".cache" and name.name != RECORD:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            files[name.as_posix()] = {"size": file.stat().st_size, "sha256": digest}
    write_json(place / RECORD, {**origin, "files": files})


def _failure(need: Need, place: Path, error: Exception) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OfflineModeIsEnabled" in kinds:
        todo = "HF_HUB_OFFLINE forbids it: unset it on a machine with network."
    elif "GatedRepoError" in kinds:
        todo = "Accept its terms on the hub's page of it, then log in with `hf auth login`."
    elif kinds & {"RepositoryNotFoundError", "RevisionNotFoundError", "HFValidationError"}:
        todo = "Look for a slip in the name and revision; what is not public needs `hf auth login`."
    else:
        todo = (
            "Is there a network, a proxy to name (HTTPS_PROXY) or a mirror (HF_ENDPOINT)? The same command "
            "goes on from here."
        )
    origin = (
        "" if "://" in need.source else f" from {os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}"
    )
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (
        f"{' '.join(need.overrides)}: cannot fetch {need.source}{origin} into {place}: "
        f"{type(error).__name__}: {reason[:300]}\n{todo}"
    )
