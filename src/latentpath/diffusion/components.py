"""Loads the networks of a Stable Diffusion folder one at a time, and writes a whole pipeline folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from latentpath.config.schema import ModelConfig
from latentpath.diffusion.execution import unet_flops
from latentpath.diffusion.networks import Autoencoder, UNet
from latentpath.diffusion.prompts import PromptEncoder, SDXLPromptEncoder
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.errors import UserError
from latentpath.runs.base_folder import check_base, has_weights
from latentpath.runs.digests import digest_of
from latentpath.runs.families import SD, SDXL, family_of
from latentpath.runs.files import Json, check_whole, read_json, replacing, write_json
from latentpath.runs.weights import FROM_ENVIRONMENT, WeightsFolder

M = TypeVar("M", bound=nn.Module)
SAFE: Any = {"use_safetensors": True}  # Any: of from_pretrained; pickles could run code


@dataclass(frozen=True)
class BaseModel:
    """A diffusers folder or hub id whose parts are loaded when asked for.

    `source` is "phantom-sd" (shipped), a local folder with a subfolder for each part of its family, or a
    hub id such as "stable-diffusion-v1-5/stable-diffusion-v1-5". Every part raises UserError that names what
    is missing and where to put it. `vae_source` is another VAE: a folder or hub id of a VAE alone, or of a
    pipeline whose VAE is taken. A hub id is looked for in the folder `weights` first.
    """

    source: str
    revision: str | None = None
    vae_source: str | None = None
    weights: WeightsFolder = FROM_ENVIRONMENT
    config: str | None = None

    @classmethod
    def of(cls, model: ModelConfig, weights: WeightsFolder) -> BaseModel:
        """Return the base model that the configuration section `model` names."""
        return cls(model.name, model.revision, model.vae, weights, model.config)

    def unet(self, dtype: torch.dtype = torch.float32) -> UNet:
        """Load the U-Net, trainable, on the CPU."""
        return self._load(UNet, "unet", torch_dtype=dtype, low_cpu_mem_usage=False, **SAFE)

    def vae(self, dtype: torch.dtype = torch.float32) -> Autoencoder:
        """Load the VAE, frozen, on the CPU."""
        return _frozen(self._load(Autoencoder, "vae", torch_dtype=dtype, low_cpu_mem_usage=False, **SAFE))

    def text_encoder(self) -> CLIPTextModel:
        """Load the (first) text encoder, frozen, on the CPU."""
        return self._text_encoder(CLIPTextModel, "text_encoder")

    def tokenizer(self) -> CLIPTokenizer:
        """Load the (first) tokenizer."""
        return self._tokenizer("tokenizer")

    def text_parts(self) -> dict[str, Any]:  # Any: of transformers
        """Return the tokenizer and the text encoder by the names of their folders; of SDXL, two of each."""
        parts = {"tokenizer": self.tokenizer(), "text_encoder": self.text_encoder()}
        if self.is_sdxl:
            parts["tokenizer_2"] = self._tokenizer("tokenizer_2")
            parts["text_encoder_2"] = self._text_encoder(CLIPTextModelWithProjection, "text_encoder_2")
        return parts

    def prompt_encoder(self, image_size: int) -> PromptEncoder:
        """Return the encoder of prompts for square images of `image_size` pixels, an input of SDXL."""
        if not self.is_sdxl:
            return PromptEncoder(**self.text_parts())
        zero = self.empty_prompt_is_zero()
        return SDXLPromptEncoder(**self.text_parts(), empty_is_zero=zero, image_size=image_size)

    @property
    def is_sdxl(self) -> bool:
        """Whether the U-Net takes a pooled embedding and the image's size, as Stable Diffusion XL's does."""
        return family_of(self.unet_config()) is SDXL

    def empty_prompt_is_zero(self) -> bool:
        """Whether SDXL's embedding of the empty prompt is zero; it is unless the pipeline says otherwise."""
        index = self._load(StableDiffusionXLPipeline, "", how="load_config")
        return index.get("force_zeros_for_empty_prompt", True)

    def schedule(self, **changes: object) -> NoiseSchedule:
        """Return the noise schedule; `changes` replace settings of the folder's scheduler."""
        scheduler = self._load(DDIMScheduler, "scheduler")
        try:
            return NoiseSchedule.from_config({**scheduler.config, **changes})
        except ValueError as error:
            raise UserError(f"{self.location}/scheduler: {error}") from None

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Return (c, h, w) of the latents of square images of `image_size` pixels."""
        config = self._load(Autoencoder, "vae", how="load_config")
        factor = 2 ** (len(config["block_out_channels"]) - 1)
        if image_size % factor:
            raise UserError(
                f"`image_size` is {image_size}, expected a multiple of {factor}: the VAE shrinks by it."
            )
        return config["latent_channels"], image_size // factor, image_size // factor

    def scaling_factor(self) -> float:
        """The factor that scales the VAE's latents for the U-Net."""
        return self._load(Autoencoder, "vae", how="load_config").get("scaling_factor", 0.18215)

    def unet_config(self) -> Json:
        return self._load(UNet, "unet", how="load_config")

    def context_shape(self) -> tuple[int, int]:
        """Return (length, dim) of the embedding of a prompt."""
        return self.tokenizer().model_max_length, self.unet_config()["cross_attention_dim"]

    def flop_per_row(self, image_size: int) -> int:
        """Return the FLOP of a forward pass of the U-Net for one latent and prompt."""
        return unet_flops(self.unet_config(), self.latent_shape(image_size), self.context_shape())

    @property
    def location(self) -> str:
        """The folder of a model, or of the configuration of a single file; else the hub id."""
        if self.single_file and self.config:
            return self.config
        return self.weights.located(self.source, self.revision)

    @property
    def single_file(self) -> Path | None:
        """The file that holds the weights of all networks, if the model is one."""
        return Path(self.source) if self.config and Path(self.source).is_file() else None

    def fingerprint(self, *parts: str) -> str:
        """Hash the files of `parts` of a local folder, or the id and revision of a hub model."""
        digest = hashlib.sha256()
        if self.single_file:
            digest.update(bytes.fromhex(digest_of(self.single_file)))
        for part in parts:
            location, subfolder, revision = self._place(part)
            folder = Path(location, subfolder)
            if not folder.is_dir():
                digest.update(f"{location}@{revision}".encode())
                continue
            second = folder.with_name(f"{part}_2")  # a second text encoder or tokenizer counts with the first
            for file in (*_files(folder), *_files(second)):
                digest.update(file.name.encode())
                digest.update(bytes.fromhex(digest_of(file)))
        return digest.hexdigest()[:16]

    def _place(self, part: str) -> tuple[str, str, str | None]:
        """(folder or hub id, subfolder in it, revision) of a part."""
        if part != "vae" or self.vae_source is None:
            return self.location, part, self.revision
        location = self.weights.located(self.vae_source)
        return location, "vae" if (Path(location) / "vae").is_dir() else "", None

    @property
    def has_weights(self) -> bool:
        """Whether the networks can be loaded. A folder of configurations alone tells the cost of a sweep."""
        return has_weights(self.source, self.revision, self.weights)

    def check(self, *, only_config: bool = False) -> None:
        """Raise UserError unless a local folder is a whole base model; a hub id is not checked.

        only_config: the weights of the networks may be missing, as for the cost of a sweep.
        """
        own = {"config": self.config, "only_config": only_config}
        check_base(self.source, self.revision, self.vae_source, self.weights, **own)

    def _text_encoder(self, kind: type[M], part: str) -> M:
        disable_progress_bar()  # it would show for milliseconds only
        return _frozen(self._load(kind, part, dtype=torch.float32, **SAFE))

    def _tokenizer(self, part: str) -> CLIPTokenizer:
        tokenizer = self._load(CLIPTokenizer, part)
        if tokenizer.vocab_size <= 2:  # transformers silently makes an empty one
            raise UserError(f"{self.location}/{part} cannot be loaded: it has no vocabulary.")
        return tokenizer

    def _load(
        self,
        kind: Any,  # Any: a class of diffusers
        part: str,
        how: str = "from_pretrained",
        **options: Any,  # Any: of that class
    ) -> Any:  # Any: an object of that class
        # Networks ask for safetensors; tokenizer, scheduler and configurations come from the folder.
        only_config = not options.get("use_safetensors")
        self.check(only_config=only_config)
        location, subfolder, revision = self._place(part)
        for file in _files(Path(location, subfolder)):
            if not (only_config and file.suffix == ".safetensors"):
                check_whole(file)
        if self.single_file and not only_config and location == self.location:
            return self._from_file(self.single_file, kind, part, options.get("torch_dtype", torch.float32))
        try:
            loaded = getattr(kind, how)(location, subfolder=subfolder, revision=revision, **options)
            if how == "load_config" and not isinstance(loaded, dict):
                raise ValueError("its config.json holds no settings by name")
            return loaded
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            if Path(location).is_dir():
                raise UserError(
                    f"{Path(location, subfolder)} cannot be loaded: {error}. Copy the folder anew."
                ) from None
            raise UserError(
                f"{location}: its {part} is neither in the hub cache "
                f"({os.environ.get('HF_HOME', '~/.cache/huggingface')}) nor could it be fetched. "
                f"On a machine with network run `hf download {location}` and copy the folder here, "
                "then give that folder instead of the id."
            ) from error

    def _from_file(self, file: Path, kind: Any, part: str, dtype: torch.dtype) -> Any:  # Any: of diffusers
        """Load one network of a single file, whose names of weights diffusers converts."""
        options = {"config": self.location, "torch_dtype": dtype, "local_files_only": True}
        try:
            if hasattr(kind, "from_single_file"):
                return kind.from_single_file(str(file), subfolder=part, **options)
            # A text encoder is converted by the pipeline alone, without its other parts.
            pipeline, parts = (
                (StableDiffusionXLPipeline, SDXL.parts)
                if self.is_sdxl
                else (StableDiffusionPipeline, SD.parts)
            )
            others = dict.fromkeys({*parts, "feature_extractor", "image_encoder"} - {part})
            return getattr(pipeline.from_single_file(str(file), **others, **options), part)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"{file}: its {part} cannot be loaded with the configuration in {self.location}: {error}. "
                "Are both of the same kind of model?"
            ) from None


def scheduler_changes(model: ModelConfig) -> dict[str, object]:
    """Return the settings of diffusers' scheduler that a fine-tune with `model` changes.

    With zero terminal SNR sampling must begin at the last timestep, so the spacing is trailing
    (Lin et al. 2023).
    """
    changes: dict[str, object] = {}
    if model.prediction_type is not None:
        changes["prediction_type"] = model.prediction_type.value
    if model.zero_terminal_snr:
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return changes


def save_pipeline(
    folder: Path,
    *,
    base: BaseModel,
    unet: UNet,
    scheduler_changes: Mapping[str, Any],  # Any: of the scheduler's class
) -> None:
    """Write a folder that the diffusers pipeline of `base` loads: the base with another U-Net.

    Written to a temporary name first, so that `folder` is whole whenever it exists; one that is there is
    replaced. There is no safety checker: it blackens medical images.
    """
    scheduler: Any = DDIMScheduler.from_config(  # Any: diffusers
        base._load(DDIMScheduler, "scheduler").config, clip_sample=False, **scheduler_changes
    )
    parts = base.text_parts() | {"vae": base.vae(), "unet": unet, "scheduler": scheduler}
    if base.is_sdxl:
        pipeline = StableDiffusionXLPipeline(
            **parts, force_zeros_for_empty_prompt=base.empty_prompt_is_zero(), add_watermarker=False
        )
    else:
        no_checker: Any = {"safety_checker": None, "feature_extractor": None}  # Any: None is not annotated
        pipeline = StableDiffusionPipeline(**parts, **no_checker, requires_safety_checker=False)
    with replacing(folder) as temporary:
        pipeline.save_pretrained(temporary)
        # diffusers notes the folder it loaded from, which would be a path of this machine.
        for file in (temporary / "model_index.json", *temporary.glob("*/*config.json")):
            write_json(file, {k: v for k, v in read_json(file).items() if k != "_name_or_path"})


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _frozen(module: M) -> M:
    return module.eval().requires_grad_(False)
