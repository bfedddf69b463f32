"""The environment of every test, and the expensive fixtures that all test processes share on disk."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Set before anything imports torch or the hub's client; the processes that tests start inherit it. The
# networks of the tests are so small that a second thread only costs time. A download must fail at once.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "WANDB_MODE": "offline",
    # Weights in the user's caches would make figures of numbers that the tests expect to be n/a.
    "XDG_CACHE_HOME": str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "xdg"),
    "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no pool of compiling processes, each of which imports torch
}
# Many tests start processes that import torch, lightning and diffusers: 11 s of computing from source files,
# 5 s from compiled ones. If the user wants no compiled files beside the sources, they go to pytest's cache.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: runs in a process of its own because it forks")
    config.addinivalue_line(
        "markers", "hostile: an attack that `make test-hostile` runs and `make test` does not"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked `alone` in a fresh pytest: this process holds threads that a fork would not copy."""
    if pyfuncitem.get_closest_marker("alone") is None or os.environ.get("LATENTPATH_ALONE"):
        return None
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", pyfuncitem.nodeid],
        env=os.environ | {"LATENTPATH_ALONE": "1"},
        cwd=pyfuncitem.config.rootpath,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return True


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Limit torch to one thread if a plugin imported it before this file set the environment."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, build)` returns the folder `name`, which the first test process that asks fills by `build`.

    The other processes wait for it and read the same files, so a test must not change them.
    """
    mine = tmp_path_factory.getbasetemp()
    shared = (mine.parent if hasattr(request.config, "workerinput") else mine) / "shared"
    shared.mkdir(exist_ok=True)

    def folder_of(name: str, build: Callable[[Path], object]) -> Path:
        folder, built = shared / name, shared / f"{name}.built"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not built.exists():
                build(folder)
                built.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny_sd(once) -> Path:
    """A diffusers folder: 32 px images, latents (4, 8, 8), random weights, the PNDM scheduler of SD 1.5."""
    return once("tiny_sd", _save_tiny_sd)


@pytest.fixture(scope="session")
def tiny_sdxl(once) -> Path:
    """A diffusers folder of SDXL's kind: as `tiny_sd`, with two text encoders and the scheduler of SDXL."""
    return once("tiny_sdxl", _save_tiny_sdxl)


def _save_tiny_sd(folder: Path) -> None:
    import torch
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    from latentpath.diffusion.components import BaseModel

    torch.manual_seed(0)
    tokenizer = BaseModel("phantom-sd").tokenizer()
    text_encoder = CLIPTextModel(_clip_config(tokenizer, width=16, layers=1))
    unet = UNet2DConditionModel(**_TINY_UNET, cross_attention_dim=16)
    StableDiffusionPipeline(
        vae=_tiny_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(**_TINY_SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _save_tiny_sdxl(folder: Path) -> None:
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from latentpath.diffusion.components import BaseModel

    torch.manual_seed(0)
    tokenizer, tokenizer_2 = BaseModel("phantom-sd").tokenizer(), BaseModel("phantom-sd").tokenizer()
    tokenizer_2.pad_token = "!"  # the difference between SDXL's two
    unet = UNet2DConditionModel(
        **_TINY_UNET,
        cross_attention_dim=16 + 24,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    )
    StableDiffusionXLPipeline(
        vae=_tiny_vae(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_clip_config(tokenizer, width=16, layers=2)),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(tokenizer_2, width=24, layers=3, pooled=20)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**_TINY_SCHEDULE, timestep_spacing="leading"),
        add_watermarker=False,
    ).save_pretrained(folder)


_TINY_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_TINY_UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


def _clip_config(tokenizer: Any, *, width: int, layers: int, pooled: int = 16) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=16,
        projection_dim=pooled,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _tiny_vae(**options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=32,
        latent_channels=4,
        norm_num_groups=4,
        block_out_channels=(4, 8, 8),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        **options,
    )


@pytest.fixture(scope="session")
def isic_32(once) -> Path:
    """The root of a phantom data set in the layout of ISIC 2019: 40 images of 32 px."""
    from latentpath.data.phantoms import write_isic2019

    return once("isic_32", lambda folder: write_isic2019(folder, count=40, size=32))


@pytest.fixture(scope="session")
def compose():
    """`compose(command, *overrides)` returns the configuration that the command would be called with."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore

    from latentpath.config.schema import Config, conf_dir

    ConfigStore.instance().store(name="schema", node=Config)

    def composed(command: str, *overrides: str):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra_compose(command, list(overrides))

    return composed
