"""A folder that is no base model is named by its file names and JSON, before data and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from latentpath.commands import FINETUNE, RUN
from latentpath.errors import UserError
from latentpath.runs.base_folder import check_base
from latentpath.runs.preflight import check_ahead
from latentpath.runs.weights import FROM_ENVIRONMENT, PHANTOM_SD


def edit(file: str, **settings: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


def rename(part: str, ending: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_name(file.name.removesuffix("safetensors") + ending))

    return change


def second_encoder(folder: Path) -> None:
    edit("model_index.json", _class_name="StableDiffusionXLPipeline")(folder)
    shutil.copytree(folder / "text_encoder", folder / "text_encoder_2")


def weights(content: bytes | None) -> Callable[[Path], None]:
    """Replace the U-Net's weights by `content`, or cut the last byte off."""

    def change(folder: Path) -> None:
        (file,) = (folder / "unet").glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-1] if content is None else content)

    return change


def alone(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "v1-5-pruned.safetensors").touch()


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "two encoders for a U-Net of one": (
        second_encoder,
        "StableDiffusionXLPipeline with text_encoder_2/, expected Stable",
    ),
    "its U-Net": (edit("unet/config.json", addition_embed_type="image"), "more than a prompt"),
    "half an SDXL": (edit("unet/config.json", addition_embed_type="text_time"), "text_encoder_2/ is missing"),
    "width": (edit("unet/config.json", cross_attention_dim=768), "width 768, and its text encoder gives 128"),
    "inpainting": (edit("unet/config.json", in_channels=9), "takes 9 channels, and the latents of .* have 4"),
    "fp16": (rename("unet", "fp16.safetensors"), r"found only the variant .*\n.*variant='fp16'\)\.save_pre"),
    "pickles": (rename("text_encoder", "bin"), r"found only the pickle model\.bin, which can run code"),
    "nothing": (
        lambda f: next((f / "vae").glob("*.safetensors")).unlink(),
        r"vae: .*safetensors is missing",
    ),
    "one file": (alone, r"a folder with the single file v1-5-pruned\.safetensors.*\. Give the file itself"),
    "scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "scheduler/ is missing"),
    "its file": (lambda f: (f / "scheduler/scheduler_config.json").unlink(), r"config\.json is missing"),
    "tokenizer": (lambda f: (f / "tokenizer/tokenizer.json").unlink(), r"neither vocab\.json nor tok"),
    "damaged": (lambda f: (f / "unet/config.json").write_text("{"), r"unet/config\.json is damaged"),
    "cut off": (
        weights(None),
        r"unet/diff.*\.safetensors is cut off or damaged: it has [\d,]+ bytes of [\d,]+; copy",
    ),
    "empty": (weights(b""), r"unet/diff.*\.safetensors is no safetensors file, or is damaged; copy it anew"),
    "a pickle's bytes": (weights(b"\x80\x04\x95" + bytes(99)), "is no safetensors file"),
    "Git LFS": (
        weights(b"version https://git-lfs.github.com/spec/v1\n"),
        r"pointer of Git LFS.*`git lfs pull`",
    ),
    "a list": (lambda f: (f / "vae/config.json").write_text("[]"), "expected a JSON object"),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(PHANTOM_SD, tmp_path / "base"))


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_base_folder_is_refused_with_what_to_do(compose, folder, tmp_path, case):
    damage, says = CASES[case]
    damage(folder)
    cfg = compose(
        "run", f"model.name={folder}", "classifier.pretrained=false", "metric.lpips=[]", "trainer=cpu"
    )
    for command in (FINETUNE, RUN):
        with pytest.raises(UserError, match=says):
            check_ahead(cfg, command, tmp_path)


def test_a_single_file_without_its_configuration_is_named_before_data(compose, tmp_path):
    file = tmp_path / "sd15.safetensors"
    file.touch()
    cfg = compose("finetune", f"model.name={file}", "trainer=cpu")
    with pytest.raises(UserError, match="is a single file; it holds no configuration"):
        check_ahead(cfg, FINETUNE, tmp_path)
    with pytest.raises(UserError, match="is no safetensors file, or is damaged"):
        check_base(str(file), None, None, FROM_ENVIRONMENT, config=str(PHANTOM_SD))
    shutil.copy(next((PHANTOM_SD / "unet").glob("*.safetensors")), file)
    check_base(str(file), None, None, FROM_ENVIRONMENT, config=str(PHANTOM_SD))


@pytest.mark.parametrize("within", ["", "vae"])
def test_another_vae_is_inspected_too(folder, tmp_path, within):
    vae = Path(shutil.copytree(folder / "vae", tmp_path / "other" / within))
    check_base("phantom-sd", None, str(tmp_path / "other"), FROM_ENVIRONMENT)
    edit("config.json", latent_channels=16)(vae)
    with pytest.raises(UserError, match=f"takes 4 channels, and the latents of {vae} have 16"):
        check_base("phantom-sd", None, str(tmp_path / "other"), FROM_ENVIRONMENT)


def test_nothing_heavy_is_imported():
    code = "import sys, latentpath.runs.base_folder; print({'torch', 'diffusers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
