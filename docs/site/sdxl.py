"""Writes the configuration of Stable Diffusion XL at its full size, without weights, for docs/commands.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from latentpath.config import schema

UNET = {
    "act_fn": "silu",
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 2,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
TEXT_ENCODER = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768}
TEXT_ENCODER_2 = {
    "hidden_size": 1280,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "projection_dim": 1280,
}


def write_configuration(folder: Path) -> None:
    """Write a diffusers folder as `hf download --include '*.json' '*.txt'` leaves it.

    The tokenizers are those of phantom-sd: like SDXL's they cut a prompt at 77 tokens.
    """
    _write(folder / "model_index.json", {"_class_name": "StableDiffusionXLPipeline"})
    _write(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    for part, config in (
        ("unet", UNET),
        ("vae", VAE),
        ("text_encoder", TEXT_ENCODER),
        ("text_encoder_2", TEXT_ENCODER_2),
    ):
        _write(folder / part / "config.json", config)
    tokenizer = Path(schema.__file__).parents[1] / "assets" / "phantom-sd" / "tokenizer"
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(tokenizer, folder / part)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
