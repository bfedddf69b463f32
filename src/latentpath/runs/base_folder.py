"""Inspects the folder of a base model: is it a Stable Diffusion 1 or 2, and is it whole?

Only file names and JSON are read, and torch is not imported, so that a wrong folder is named in the first
second. Whether the weights themselves are whole is known only when they are loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from latentpath.errors import UserError
from latentpath.runs.weights import WeightsFolder

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_DIFFUSERS = "diffusion_pytorch_model"
_WEIGHTS = {"unet": _DIFFUSERS, "vae": _DIFFUSERS, "text_encoder": "model"}
_EXPECTED = (
    "expected Stable Diffusion 1 or 2, with one text encoder and a U-Net. "
    "Give another folder or hub id, such as model.name=stable-diffusion-v1-5/stable-diffusion-v1-5."
)


def check_base(source: str, revision: str | None, vae: str | None, weights: WeightsFolder) -> None:
    """Raise UserError unless `source` names a whole diffusers folder of a Stable Diffusion 1 or 2.

    source, vae: as in `model.name` and `model.vae`. A hub id that is not in `weights` is passed over, because
    it can only be tried.
    """
    folder = Path(weights.located(source, revision))
    if folder.is_file():
        raise UserError(_single_file(folder, folder))
    if folder.is_dir():
        _check_kind(folder)
        for part in _WEIGHTS:
            _check_weights(folder, part)
        _object(folder / "scheduler" / "scheduler_config.json")
        tokenizer = folder / "tokenizer"
        if not any((tokenizer / name).is_file() for name in ("vocab.json", "tokenizer.json")):
            raise UserError(f"{tokenizer}: neither vocab.json nor tokenizer.json is there; copy it anew.")
        _check_shapes(folder, folder / "vae")
    elif source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UserError(f"model.name={source!r}: no such folder, and not a hub id (owner/name).")
    if vae and (other := Path(weights.located(vae))).is_dir():
        own = other / "vae" if (other / "vae").is_dir() else other
        _check_weights(own.parent, own.name)
        if folder.is_dir():
            _check_shapes(folder, own)


def _check_kind(folder: Path) -> None:
    singles = sorted(file for ending in ("safetensors", "ckpt") for file in folder.glob(f"*.{ending}"))
    if singles and not (folder / "unet").is_dir():
        raise UserError(_single_file(folder, singles[0]))
    index = folder / "model_index.json"
    kind = _object(index).get("_class_name", "") if index.is_file() else ""
    others = [name for name in ("text_encoder_2", "transformer", "prior") if (folder / name).is_dir()]
    if others:
        raise UserError(f"{folder}: {kind or 'a pipeline'} with {others[0]}/, {_EXPECTED}")
    for part in PARTS:
        if not (folder / part).is_dir():
            raise UserError(f"{folder}: not a diffusers Stable Diffusion folder, {part}/ is missing.")
    if embedding := _object(folder / "unet" / "config.json").get("addition_embed_type"):
        raise UserError(f"{folder}: its U-Net needs more than a prompt ({embedding!r}), {_EXPECTED}")


def _single_file(found: Path, file: Path) -> str:
    target = file.with_suffix("").name
    call = f"StableDiffusionPipeline.from_single_file({str(file)!r}).save_pretrained({target!r})"
    what = "a single file" if found == file else f"a folder with the single file {file.name}"
    return (
        f"{found}: {what}, expected a diffusers folder. If you trust the file, convert it once:\n"
        f'  python -c "from diffusers import StableDiffusionPipeline; {call}"\nthen give model.name={target}'
    )


def _check_weights(folder: Path, part: str) -> None:
    """Raise UserError unless the part has safetensors of full precision, whole or in shards."""
    name, place = _WEIGHTS.get(part, _DIFFUSERS), folder / part
    _object(place / "config.json")
    if any((place / f"{name}.safetensors{ending}").is_file() for ending in ("", ".index.json")):
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
    """Raise UserError unless U-Net, VAE and text encoder fit together."""
    unet, text = _object(folder / "unet" / "config.json"), _object(folder / "text_encoder" / "config.json")
    takes, latents = unet.get("in_channels", 4), _object(vae / "config.json").get("latent_channels", 4)
    if takes != latents:
        raise UserError(
            f"{folder}: its U-Net takes {takes} channels, and the latents of {vae} have {latents}. "
            "Models for inpainting, depth or upscaling do not fit; expected one for text to image."
        )
    width, dim = unet.get("cross_attention_dim"), text.get("hidden_size")
    if width is not None and dim is not None and width != dim:
        raise UserError(
            f"{folder}: its U-Net takes embeddings of width {width}, and its text encoder gives {dim}. "
            "Take both from one model."
        )


def _object(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises UserError, naming the file, if there is none."""
    if not file.is_file():
        raise UserError(f"{file} is missing; copy the folder anew.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be loaded ({error}); copy the folder anew.") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} cannot be loaded: expected settings by name; copy the folder anew.")
    return content
