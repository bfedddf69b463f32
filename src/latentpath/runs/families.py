"""The families of base models: the parts of their diffusers folders, and the files of each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DIFFUSION, TEXT = "diffusion_pytorch_model", "model"  # names of files with weights, without their ending
EXPECTED = (
    "expected Stable Diffusion 1, 2 or XL, with a U-Net and one text encoder, or two in XL. "
    "Give another folder or hub id, such as model.name=stable-diffusion-v1-5/stable-diffusion-v1-5."
)


@dataclass(frozen=True)
class Family:
    """A kind of base model.

    parts: the folders in its folder. embedding: what its U-Net takes besides a prompt, by the name in the
    configuration of the U-Net (`addition_embed_type`); None: nothing. indexed: whether model_index.json is
    needed too, which says how the empty prompt is embedded.
    """

    parts: tuple[str, ...]
    embedding: str | None = None
    indexed: bool = False

    @property
    def files(self) -> tuple[tuple[str, ...], ...]:
        """Each file that a pipeline needs, with its alternatives; an index stands for the shards it lists."""
        files = [tuple(f"{part}/{name}" for name in names) for part in self.parts for names in _files(part)]
        return (*files, *[("model_index.json",)] * self.indexed)


def weights_name(part: str) -> str | None:
    """Return the name of the file with the weights of a part, without its ending; None if it has none."""
    if part in ("unet", "vae"):
        return DIFFUSION
    return TEXT if part.startswith("text_encoder") else None


def _files(part: str) -> list[tuple[str, ...]]:
    if part.startswith("tokenizer"):
        return [("vocab.json", "tokenizer.json")]
    if (name := weights_name(part)) is None:
        return [(f"{part}_config.json",)]
    return [("config.json",), (f"{name}.safetensors", f"{name}.safetensors.index.json")]


SD = Family(("unet", "vae", "text_encoder", "tokenizer", "scheduler"))
SDXL = Family((*SD.parts, "text_encoder_2", "tokenizer_2"), embedding="text_time", indexed=True)
FAMILIES = (SD, SDXL)


def family_of(unet: Mapping[str, object]) -> Family | None:
    """Return the family of a U-Net by its configuration, or None if it is none of them."""
    embedding = unet.get("addition_embed_type")
    return next((family for family in FAMILIES if family.embedding == embedding), None)
