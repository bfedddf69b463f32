"""Inspects the folder of a base model: is it a Stable Diffusion 1, 2 or XL, and is it whole?

Only file names and JSON are read, and torch is not imported, so that a wrong folder is named in the first
second. Of the weights the size is compared; whether their values are right nobody can tell.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from latentpath.errors import UserError
from latentpath.runs.families import DIFFUSION, EXPECTED, FAMILIES, SD, family_of, weights_name
from latentpath.runs.files import Json, read_json
from latentpath.runs.weights import WeightsFolder

SINGLE_FILES = (".safetensors", ".ckpt")
LONGEST_HEADER = 100_000_000  # bytes of a safetensors file, by its format


def check_base(
    source: str,
    revision: str | None,
    vae: str | None,
    weights: WeightsFolder,
    *,
    config: str | None = None,
    only_config: bool = False,
) -> None:
    """Raise UserError unless `source` names a whole base model: a Stable Diffusion 1, 2 or XL.

    source, vae, config: as in `model.name`, `model.vae` and `model.config`. A hub id that is not in `weights`
    is not checked, because only its download can tell. only_config: the weights of networks may be missing.
    """
    folder = Path(weights.located(source, revision))
    file = None
    if folder.is_file() or source.endswith(SINGLE_FILES):
        file, folder = folder, _configuration(folder, config)
    if folder.is_dir():
        for part in _parts(folder):
            if part.startswith("tokenizer"):
                _check_tokenizer(folder / part)
            elif weights_name(part) and file is None and not only_config:
                _check_weights(folder, part)
            elif weights_name(part):
                _object(folder / part / "config.json")
        _object(folder / "scheduler" / "scheduler_config.json")
        _check_shapes(folder, folder / "vae")
    elif source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UserError(f"model.name={source!r}: no such folder, and not a hub id (owner/name).")
    if vae and (other := Path(weights.located(vae))).is_dir():
        own = other / "vae" if (other / "vae").is_dir() else other
        if not only_config:
            _check_weights(own.parent, own.name)
        if folder.is_dir():
            _check_shapes(folder, own)


def has_weights(source: str, revision: str | None, weights: WeightsFolder) -> bool:
    """Return False for a folder whose U-Net has a configuration alone, without any weights."""
    unet = Path(weights.located(source, revision)) / "unet"
    return not unet.is_dir() or any(unet.glob("*.safetensors*")) or any(unet.glob("*.bin"))


def _configuration(file: Path, config: str | None) -> Path:
    """Return the folder with the configuration of a single file. Raises UserError if there is none."""
    if not file.is_file():
        raise UserError(f"model.name={str(file)!r}: no such file.")
    if file.suffix != ".safetensors":
        raise UserError(
            f"model.name={str(file)!r}: a pickle, which can run code. Give the same model as .safetensors."
        )
    if config is None or not Path(config).is_dir():
        what = "it holds no configuration" if config is None else f"{config} is no folder"
        raise UserError(
            f"model.name={str(file)!r} is a single file; {what}. Give model.config=/a/folder, a diffusers "
            "folder of the same kind of model, of which only configurations and tokenizer are read. "
            "On a machine with network run:\n  hf download stable-diffusion-v1-5/stable-diffusion-v1-5 "
            "--include '*.json' '*.txt' --local-dir folder"
        )
    check_tensors(file)
    return Path(config)


def check_tensors(file: Path) -> None:
    """Raise UserError unless the size of a safetensors file is the one that its header tells."""
    with file.open("rb") as content:
        start = content.read(8)
        length = int.from_bytes(start, "little")
        header = content.read(length) if length <= LONGEST_HEADER else b""
    if start == b"version ":
        raise UserError(f"{file} is a pointer of Git LFS, not the weights: run `git lfs pull` in its folder.")
    try:
        tensors = [about for name, about in json.loads(header).items() if name != "__metadata__"]
        size = 8 + length + max((about["data_offsets"][1] for about in tensors), default=0)
    except (ValueError, AttributeError, KeyError, TypeError, IndexError):
        raise UserError(f"{file} is no safetensors file, or is damaged; copy it anew.") from None
    if (found := file.stat().st_size) != size:
        raise UserError(f"{file} is cut off or damaged: it has {found:,} bytes of {size:,}; copy it anew.")


def _parts(folder: Path) -> tuple[str, ...]:
    """Return the parts of the folder's kind of model. Raises UserError if it is another kind or lacks one."""
    singles = sorted(file for ending in ("safetensors", "ckpt") for file in folder.glob(f"*.{ending}"))
    if singles and not (folder / "unet").is_dir():
        raise UserError(
            f"{folder}: a folder with the single file {singles[0].name}, expected a diffusers folder. Give "
            f"the file itself, and a folder with its configuration: model.name={singles[0]} "
            "model.config=/a/folder"
        )
    index = folder / "model_index.json"
    kind = _object(index).get("_class_name", "") if index.is_file() else ""
    for other in ("transformer", "prior"):
        if (folder / other).is_dir():
            raise UserError(f"{folder}: {kind or 'a pipeline'} with {other}/, {EXPECTED}")
    _check_parts(folder, SD.parts)
    unet = _object(folder / "unet" / "config.json")
    family = family_of(unet)
    for part in (part for other in FAMILIES for part in other.parts):
        if part not in (family or SD).parts and (folder / part).is_dir():
            raise UserError(f"{folder}: {kind or 'a pipeline'} with {part}/, {EXPECTED}")
    if family is None:
        more = unet["addition_embed_type"]
        raise UserError(f"{folder}: its U-Net needs more than a prompt ({more!r}), {EXPECTED}")
    _check_parts(folder, family.parts)
    return family.parts


def _check_parts(folder: Path, parts: Sequence[str]) -> None:
    for part in parts:
        if not (folder / part).is_dir():
            raise UserError(f"{folder}: not a diffusers Stable Diffusion folder, {part}/ is missing.")


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        raise UserError(f"{folder}: neither vocab.json nor tokenizer.json is there; copy it anew.")


def _check_weights(folder: Path, part: str) -> None:
    """Raise UserError unless the part has safetensors of full precision, whole or in shards."""
    name, place = weights_name(part) or DIFFUSION, folder / part
    _object(place / "config.json")
    if any((place / f"{name}.safetensors{ending}").is_file() for ending in ("", ".index.json")):
        for file in sorted(place.glob(f"{name}*.safetensors")):
            check_tensors(file)
        return
    if variants := sorted(place.glob(f"{name}.*.safetensors")):
        what, trusted = f"the variant {variants[0].name}", ""
        options = f"variant={variants[0].suffixes[-2].removeprefix('.')!r}"
    elif pickles := sorted(place.glob("*.bin")):
        what, trusted = f"the pickle {pickles[0].name}, which can run code", ", if you trust it"
        options = "use_safetensors=False"
    else:
        raise UserError(f"{place}: {name}.safetensors is missing; copy the folder anew.")
    is_whole = (folder / "unet").is_dir()
    kind, source = ("StableDiffusionPipeline", folder) if is_whole else ("AutoencoderKL", place)
    call = f"{kind}.from_pretrained({str(source)!r}, {options}).save_pretrained('{source.name}-converted')"
    raise UserError(
        f"{place}: expected {name}.safetensors, found only {what}. Convert the folder once{trusted}:\n"
        f'  python -c "from diffusers import {kind}; {call}"\nthen give that folder.'
    )


def _check_shapes(folder: Path, vae: Path) -> None:
    """Raise UserError unless U-Net, VAE and text encoders fit together."""
    unet = _object(folder / "unet" / "config.json")
    encoders = [place for place in sorted(folder.glob("text_encoder*")) if place.is_dir()]
    texts = [_object(place / "config.json") for place in encoders]
    takes, latents = unet.get("in_channels", 4), _object(vae / "config.json").get("latent_channels", 4)
    if takes != latents:
        raise UserError(
            f"{folder}: its U-Net takes {takes} channels, and the latents of {vae} have {latents}. "
            "Models for inpainting, depth or upscaling do not fit; expected one for text to image."
        )
    width = unet.get("cross_attention_dim")
    dims = [int(text["hidden_size"] or 0) for text in texts if "hidden_size" in text]
    if width is not None and len(dims) == len(texts) and width != sum(dims):
        raise UserError(
            f"{folder}: its U-Net takes embeddings of width {width}, and its text encoder gives "
            f"{' + '.join(map(str, dims))}. Take both from one model."
        )


def _object(file: Path) -> Json:
    """Read a JSON object. Raises UserError, naming the file, if there is none."""
    return read_json(file, remedy="Copy the folder anew.")
