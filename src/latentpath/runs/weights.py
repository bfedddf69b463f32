"""Weights that do not ship with the package: which ones a configuration needs, and their local paths.

`latentpath fetch` fills a folder of weights (or you do by hand) with this layout:

    hub/<owner>/<model>[@<revision>]/     a Stable Diffusion folder, or a VAE
    timm/<architecture>/model.safetensors
    torchvision/alexnet-owt-7be5be79.pth  backbones of LPIPS (from a package: alexnet-features.safetensors)
    torch_fidelity/, torchxrayvision/     the networks of metric.features

If no folder is named, it is `latentpath` in the user's cache.
This module imports nothing heavy, because preflight.py uses it before everything else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from latentpath.config.plugins import is_reference
from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs.digests import digest_of
from latentpath.runs.families import DIFFUSION, FAMILIES, SD, family_of
from latentpath.runs.files import Json, read_json

ENVIRONMENT = "LATENTPATH_WEIGHTS"
RECORD = "fetched.json"  # beside the files of a model: their source, sizes and hashes
PHANTOM_SD = Path(__file__).parents[1] / "assets" / "phantom-sd"
# Each file name ends with the first eight digits of the file's SHA-256.
BACKBONES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg": "vgg16-397923af.pth",
}
# What `latentpath fetch` makes of a package where torchvision's file cannot be had; see runs/packaged.py.
BACKBONES_PACKAGED = {"alex": "alexnet-features.safetensors", "vgg": "vgg16-features.safetensors"}
BACKBONES_URL = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class FeatureNetwork:
    """A feature network of `metric.features` other than the judge: the source and path of its weights."""

    source: str  # URL
    folder: str  # within the folder of weights
    names: tuple[str, ...]  # alternative names of the file


FEATURES = {
    # torch-fidelity and pytorch-fid use different names for the same file.
    "inception": FeatureNetwork(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        "torch_fidelity",
        ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    ),
    # The source is a fully pickled network; `latentpath fetch` extracts its tensors.
    "xrayvision": FeatureNetwork(
        "https://github.com/mlmed/torchxrayvision/releases/download/v1/"
        "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
        "torchxrayvision",
        ("densenet121-res224-all.safetensors",),
    ),
}

# Each entry is a file and its alternatives; an index file stands for the shards that it lists.
_MODEL, _VAE = f"{DIFFUSION}.safetensors", ("", "vae/")
_VAE_FILES = (
    tuple(f"{folder}config.json" for folder in _VAE),
    tuple(f"{folder}{_MODEL}{index}" for folder in _VAE for index in ("", ".index.json")),
)


@dataclass(frozen=True)
class Need:
    """One set of weight files that a configuration needs and that does not ship with the package."""

    overrides: tuple[str, ...]  # the overrides that require it
    kind: str  # pipeline, vae, timm, torchvision, or a name of FEATURES
    source: str  # hub id, timm's name, or URL
    folder: str  # its path within the folder of weights
    files: tuple[tuple[str, ...], ...]  # each file with its alternatives
    revision: str | None = None

    @property
    def optional(self) -> bool:
        """Whether a run works without it, with some figures n/a."""
        return self.kind == "torchvision" or self.kind in FEATURES


@dataclass(frozen=True)
class WeightsFolder:
    """The folder of weights: `WeightsFolder(cfg.weights_dir)`, or LATENTPATH_WEIGHTS if no name is given.

    Without either it is `latentpath` in the user's cache, where `latentpath fetch` puts what it gets then.
    """

    name: str | None = None

    @property
    def named(self) -> bool:
        """Whether the user named a folder, which must then hold all that a configuration needs."""
        return bool(self.name or os.environ.get(ENVIRONMENT))

    @property
    def path(self) -> Path:
        """The folder itself; it need not exist."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "latentpath"
        return Path(self.name or os.environ.get(ENVIRONMENT) or cache).expanduser()

    def located(self, source: str, revision: str | None = None) -> str:
        """Return the folder of a base model or VAE; a hub id that is not here stays as it is."""
        if source == "phantom-sd":
            return str(PHANTOM_SD)
        return source if Path(source).is_dir() else str(self.model(source, revision) or source)

    def model(self, source: str, revision: str | None = None) -> Path | None:
        """Return the folder of a hub id's pipeline or VAE, or None if it is not here."""
        folder = self.path / _hub(source, revision)
        return folder if folder.is_dir() else None

    def timm(self, arch: str) -> Path | None:
        """Return the ImageNet weights of a timm model, or None if they are not here."""
        return self._file("timm", arch, "model.safetensors")

    def backbone(self, net: str) -> Path | None:
        """Return the backbone of LPIPS, here or in torch hub's checkpoint folder, or None.

        Raises UserError if its hash is wrong.
        """
        name = BACKBONES[net]
        if file := self._file("torchvision", name):
            _check_hash(file, BACKBONES_URL + name)
            return file
        if (cached := checkpoints() / name).is_file():
            return cached
        return self._file("torchvision", BACKBONES_PACKAGED[net]) if net in BACKBONES_PACKAGED else None

    def feature_network(self, name: str) -> Path:
        """Return the weights of a network of FEATURES, here or in torch hub's checkpoint folder.

        If neither has them, return the path where they belong. Raises UserError if the file's hash is wrong.
        """
        network = FEATURES[name]
        folders = (self.path / network.folder, checkpoints())
        places = [folder / file for folder in folders for file in network.names]
        found = next((place for place in places if place.is_file()), None)
        if found and found.suffix == ".pth":
            _check_hash(found, network.source)
        return found or places[0]

    def _file(self, *parts: str) -> Path | None:
        file = self.path.joinpath(*parts)
        return file if file.is_file() else None


FROM_ENVIRONMENT = WeightsFolder()  # the default if no folder is given


def checkpoints() -> Path:
    """Return torch hub's checkpoint folder without importing torch."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def _check_hash(file: Path, source: str) -> None:
    found = digest_of(file)
    if not found.startswith(file.stem.rsplit("-", 1)[1]):
        raise UserError(
            f"{file} is not the file of {source}: its SHA-256 begins with {found[:8]}, not with the "
            "digits at the end of its name. Delete it and fetch it again."
        )


def needed(cfg: Config, what: Iterable[str]) -> list[Need]:
    """List the weight files that the parts in `what` need and that do not ship with the package.

    what: "base" (the base model), "classifier" (its network), "metrics" (their networks). phantom-sd and
    local folders need nothing.
    """
    what, needs = set(what), []
    model, classifier = cfg.model, cfg.classifier
    if "base" in what:
        if is_hub_id(model.name):
            overrides = [f"model.name={model.name}"]
            overrides += [f"model.revision={model.revision}"] if model.revision else []
            place = _hub(model.name, model.revision)
            needs.append(Need(tuple(overrides), "pipeline", model.name, place, SD.files, model.revision))
        if model.vae and is_hub_id(model.vae):
            needs.append(Need((f"model.vae={model.vae}",), "vae", model.vae, _hub(model.vae), _VAE_FILES))
    if "classifier" in what and classifier.pretrained and not is_reference(classifier.arch):
        overrides = (f"classifier.arch={classifier.arch}", "classifier.pretrained=true")
        place = f"timm/{classifier.arch}"
        needs.append(Need(overrides, "timm", classifier.arch, place, (("model.safetensors",),)))
    if "metrics" in what:
        for net in cfg.metric.lpips:
            names = (BACKBONES[net], *filter(None, [BACKBONES_PACKAGED.get(net)]))
            url = BACKBONES_URL + names[0]
            needs.append(Need((f"metric.lpips=[{net}]",), "torchvision", url, "torchvision", (names,)))
        for name in cfg.metric.features if cfg.metric.against_data else ():
            if name in FEATURES:
                network = FEATURES[name]
                overrides = (f"metric.features=[{name}]",)
                needs.append(Need(overrides, name, network.source, network.folder, (network.names,)))
    return needs


def missing(need: Need, root: Path) -> list[str]:
    """Return the files of `need` that are missing or truncated in `root`, as paths within `need.folder`."""
    folder = root / need.folder
    found = missing_of(need, lambda name: folder / name if (folder / name).is_file() else None)
    return found + [name for name in _cut_short(folder) if name not in found]


def missing_of(need: Need, find: Callable[[str], Path | None]) -> list[str]:
    """Return the files of `need` that `find` does not find."""
    config = find("unet/config.json") if need.kind == "pipeline" else None
    family = family_of(_object(config)) if config else None
    lacking = []
    for names in dict.fromkeys((*need.files, *(family.files if family else ()))):
        name = next((name for name in names if find(name)), None)
        if name is None:
            lacking.append(names[0])
            continue
        if name.endswith(".index.json") and (index := find(name)):
            shards = sorted(set(_object(index, "weight_map")["weight_map"].values()))
            beside = (str(Path(name).with_name(shard)) for shard in shards)
            lacking += [shard for shard in beside if not find(shard)]
    return lacking


def _object(file: Path, *keys: str) -> Json:
    """Read the object in a JSON file, which has `keys`. Raises UserError if the file is damaged."""
    return read_json(file, keys, remedy="Delete it, and fetch or copy it again.")


def pipeline_files() -> list[str]:
    """Return the files of a pipeline of any family, with their alternatives."""
    names = [name for family in FAMILIES for names in family.files for name in names]
    return list(dict.fromkeys(["model_index.json", *names]))


def _cut_short(folder: Path) -> list[str]:
    """Return the files whose size differs from the record of `latentpath fetch` (incomplete copies)."""
    try:
        files = json.loads((folder / RECORD).read_text())["files"]
        sizes = {folder / name: file["size"] for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return []  # copied by hand
    short = [file for file, size in sizes.items() if not file.is_file() or file.stat().st_size != size]
    return [file.relative_to(folder).as_posix() for file in short]


def _hub(source: str, revision: str | None = None) -> str:
    return f"hub/{source}@{revision}" if revision else f"hub/{source}"


def is_hub_id(name: str) -> bool:
    """Return whether `name` is the id of a model on the Hugging Face hub, and not a local folder or file."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name)) and not (
        Path(name).exists() or name.endswith((".safetensors", ".ckpt"))
    )
