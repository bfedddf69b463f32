"""Weights that do not ship with the package: which a configuration needs, and where they lie without network.

A folder of weights, filled by `latentpath fetch` or by hand, is laid out so that a missing file can be named:

    hub/<owner>/<model>[@<revision>]/     a Stable Diffusion folder, or a VAE
    timm/<architecture>/model.safetensors
    torchvision/alexnet-owt-7be5be79.pth  the backbones of LPIPS
    torch_fidelity/, torchxrayvision/     the networks of metric.features

Nothing heavy is imported here: preflight.py reads it before everything else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from latentpath.config.plugins import is_reference
from latentpath.config.schema import Config
from latentpath.errors import UserError

ENVIRONMENT = "LATENTPATH_WEIGHTS"
RECORD = "fetched.json"  # beside the files of a model: where they are from, their sizes and hashes
# The first eight digits of its SHA-256 end the name of each.
BACKBONES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg": "vgg16-397923af.pth",
}
BACKBONES_URL = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class FeatureNetwork:
    """A network of `metric.features` besides the judge: where its weights are from, and where they lie."""

    source: str  # URL
    folder: str  # in the folder of weights
    names: tuple[str, ...]  # of the file: each can stand in the other's place


FEATURES = {
    # The same file under the names that torch-fidelity and pytorch-fid give it.
    "inception": FeatureNetwork(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        "torch_fidelity",
        ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    ),
    # At the source a network pickled whole; `latentpath fetch` takes its tensors out.
    "xrayvision": FeatureNetwork(
        "https://github.com/mlmed/torchxrayvision/releases/download/v1/"
        "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
        "torchxrayvision",
        ("densenet121-res224-all.safetensors",),
    ),
}

_MODEL, _VAE = "diffusion_pytorch_model.safetensors", ("", "vae/")
# Each a file or, after it, what can stand in its place; an index stands for the shards that it lists.
_PIPELINE_FILES = (
    *((f"{part}/config.json",) for part in ("unet", "vae", "text_encoder")),
    *((f"{part}/{_MODEL}", f"{part}/{_MODEL}.index.json") for part in ("unet", "vae")),
    ("text_encoder/model.safetensors", "text_encoder/model.safetensors.index.json"),
    ("tokenizer/vocab.json", "tokenizer/tokenizer.json"),
    ("scheduler/scheduler_config.json",),
)
_VAE_FILES = (
    tuple(f"{folder}config.json" for folder in _VAE),
    tuple(f"{folder}{_MODEL}{index}" for folder in _VAE for index in ("", ".index.json")),
)


@dataclass(frozen=True)
class Need:
    """One thing that a configuration asks for and that is not in the package."""

    overrides: tuple[str, ...]  # what asks for it
    kind: str  # pipeline, vae, timm, torchvision, or a name of FEATURES
    source: str  # hub id, timm's name, or URL
    folder: str  # its place in the folder of weights
    files: tuple[tuple[str, ...], ...]  # each with what can stand in its place
    revision: str | None = None

    @property
    def optional(self) -> bool:
        """Does a configuration do without it, its figures n/a?"""
        return self.kind == "torchvision" or self.kind in FEATURES


@dataclass(frozen=True)
class WeightsFolder:
    """The folder of weights: `WeightsFolder(cfg.weights_dir)`; without a name, that of LATENTPATH_WEIGHTS.

    There may be none, and then every question is answered by None or by the caches of the libraries.
    """

    name: str | None = None

    @property
    def path(self) -> Path | None:
        name = self.name or os.environ.get(ENVIRONMENT)
        return Path(name).expanduser() if name else None

    def model(self, source: str, revision: str | None = None) -> Path | None:
        """The folder of a hub id's pipeline or VAE, if it is here."""
        folder = self.path / _hub(source, revision) if self.path else None
        return folder if folder and folder.is_dir() else None

    def timm(self, arch: str) -> Path | None:
        """The ImageNet weights of a timm model, if they are here."""
        return self._file("timm", arch, "model.safetensors")

    def backbone(self, net: str) -> Path | None:
        """The backbone of LPIPS, if it is here. Raises UserError if the file is not what its name says."""
        file = self._file("torchvision", BACKBONES[net])
        if file:
            _check_hash(file, BACKBONES_URL + file.name)
        return file

    def feature_network(self, name: str) -> Path:
        """The weights of a network of FEATURES, here or in torch hub's checkpoint folder.

        Where neither has them, the path at which they belong. Raises UserError if the file is not what its
        name says.
        """
        network = FEATURES[name]
        folders = [self.path / network.folder] if self.path else []
        places = [folder / file for folder in (*folders, checkpoints()) for file in network.names]
        found = next((place for place in places if place.is_file()), None)
        if found and found.suffix == ".pth":
            _check_hash(found, network.source)
        return found or places[0]

    def _file(self, *parts: str) -> Path | None:
        file = self.path.joinpath(*parts) if self.path else None
        return file if file and file.is_file() else None


FROM_ENVIRONMENT = WeightsFolder()  # where nobody names a folder


def checkpoints() -> Path:
    """Torch hub's checkpoint folder, known without importing torch."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def _check_hash(file: Path, source: str) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not found.startswith(file.stem.rsplit("-", 1)[1]):
        raise UserError(
            f"{file}: not {source}, whose SHA-256 begins as its name ends; this one's is {found[:8]}... "
            "Delete it and fetch it again."
        )


def needed(cfg: Config, what: Iterable[str]) -> list[Need]:
    """The files that the base ("base"), the classifier's network ("classifier") and the networks of the
    metrics ("metrics") need of those that do not ship; nothing for phantom-sd and for local folders."""
    what, needs = set(what), []
    model, classifier = cfg.model, cfg.classifier
    if "base" in what:
        if is_hub_id(model.name):
            overrides = [f"model.name={model.name}"]
            overrides += [f"model.revision={model.revision}"] if model.revision else []
            place = _hub(model.name, model.revision)
            needs.append(
                Need(tuple(overrides), "pipeline", model.name, place, _PIPELINE_FILES, model.revision)
            )
        if model.vae and is_hub_id(model.vae):
            needs.append(Need((f"model.vae={model.vae}",), "vae", model.vae, _hub(model.vae), _VAE_FILES))
    if "classifier" in what and classifier.pretrained and not is_reference(classifier.arch):
        overrides = (f"classifier.arch={classifier.arch}", "classifier.pretrained=true")
        place = f"timm/{classifier.arch}"
        needs.append(Need(overrides, "timm", classifier.arch, place, (("model.safetensors",),)))
    if "metrics" in what:
        for net in cfg.metric.lpips:
            file = BACKBONES[net]
            url = BACKBONES_URL + file
            needs.append(Need((f"metric.lpips=[{net}]",), "torchvision", url, "torchvision", ((file,),)))
        for name in cfg.metric.features if cfg.metric.against_data else ():
            if name in FEATURES:
                network = FEATURES[name]
                overrides = (f"metric.features=[{name}]",)
                needs.append(Need(overrides, name, network.source, network.folder, (network.names,)))
    return needs


def missing(need: Need, root: Path | None) -> list[str]:
    """The files of `need` that `root` lacks, or holds cut short; paths within `need.folder`."""
    if root is None:
        return [names[0] for names in need.files]
    folder = root / need.folder
    found = missing_of(need, lambda name: folder / name if (folder / name).is_file() else None)
    return found + [name for name in _cut_short(folder) if name not in found]


def missing_of(need: Need, find: Callable[[str], Path | None]) -> list[str]:
    """The files of `need` that `find` does not find."""
    lacking = []
    for names in need.files:
        name = next((name for name in names if find(name)), None)
        if name is None:
            lacking.append(names[0])
            continue
        if name.endswith(".index.json") and (index := find(name)):
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            beside = (str(Path(name).with_name(shard)) for shard in shards)
            lacking += [shard for shard in beside if not find(shard)]
    return lacking


def _cut_short(folder: Path) -> list[str]:
    """Files of another size than `latentpath fetch` noted: a copy that broke off."""
    try:
        files = json.loads((folder / RECORD).read_text())["files"]
        sizes = {folder / name: file["size"] for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return []  # put there by hand
    short = [file for file, size in sizes.items() if not file.is_file() or file.stat().st_size != size]
    return [file.relative_to(folder).as_posix() for file in short]


def _hub(source: str, revision: str | None = None) -> str:
    return f"hub/{source}@{revision}" if revision else f"hub/{source}"


def is_hub_id(name: str) -> bool:
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name)) and not Path(name).is_dir()
