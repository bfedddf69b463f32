"""The parts of a Stable Diffusion folder: missing ones are named, and diffusers can load what is saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from latentpath.diffusion.components import BaseModel, save_pipeline
from latentpath.errors import UserError
from latentpath.runs.families import SD


@pytest.fixture
def copy(tiny_sd, tmp_path) -> Path:
    """A folder to break."""
    return Path(shutil.copytree(tiny_sd, tmp_path / "base"))


def load(model: BaseModel, part: str):
    return model.schedule() if part == "scheduler" else getattr(model, part)()


def test_parts_are_frozen_but_the_unet(tiny_sd):
    model = BaseModel(str(tiny_sd))
    for part in ("vae", "text_encoder"):
        network = load(model, part)
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
    assert all(p.requires_grad for p in model.unet().parameters())
    assert {p.dtype for p in model.unet().parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/nowhere", "phantom", "a/b/c"])
def test_a_name_that_is_no_folder_and_no_hub_id_is_refused(name):
    with pytest.raises(UserError, match=f"model.name='{name}': no such folder, and not a hub id"):
        BaseModel(name).check()


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")
def test_a_hub_id_without_network_says_what_to_fetch_where():
    with pytest.raises(UserError, match="hf download owner/base") as caught:
        BaseModel("owner/base").unet()
    assert "its unet is neither in the hub cache" in str(caught.value)
    with pytest.raises(UserError, match="hf download owner/base"):
        BaseModel("owner/base").latent_shape(32)


@pytest.mark.parametrize("part", SD.parts)
def test_a_missing_part_is_named(copy, part):
    shutil.rmtree(copy / part)
    model = BaseModel(str(copy))
    for ask in (model.check, lambda: load(model, part)):
        with pytest.raises(UserError, match=rf"{copy}: not a diffusers .*{part}/ is missing"):
            ask()


@pytest.mark.parametrize("part", SD.parts)
def test_an_empty_part_is_named(copy, part):
    shutil.rmtree(copy / part)
    (copy / part).mkdir()
    with pytest.raises(UserError, match=f"{copy}/{part}.*[Cc]opy.* anew"):
        load(BaseModel(str(copy)), part)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_cut_off_are_named(copy, part):
    (file,) = (copy / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=rf"{copy}/{part}/\w+\.safetensors is cut off or damaged"):
        load(BaseModel(str(copy)), part)


def test_a_schedule_that_is_not_known_is_named_with_its_folder(copy):
    file = copy / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"beta_schedule": "squaredcos_cap_v2"}))
    with pytest.raises(UserError, match=f"{copy}/scheduler: beta_schedule 'squaredcos_cap_v2'"):
        BaseModel(str(copy)).schedule()


def test_zero_terminal_snr_with_a_network_that_predicts_noise_is_refused(copy):
    with pytest.raises(
        UserError, match=rf"{copy}/scheduler: rescale_betas_zero_snr .* expected v_prediction"
    ):
        BaseModel(str(copy)).schedule(rescale_betas_zero_snr=True)


def test_the_shape_of_latents(tiny_sd):
    model = BaseModel(str(tiny_sd))
    assert model.latent_shape(32) == (4, 8, 8)
    latents = model.vae().encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean
    assert model.latent_shape(64) == latents.shape[1:]
    with pytest.raises(UserError, match=r"`image_size` is 30, expected a multiple of 4"):
        model.latent_shape(30)


def test_the_fingerprint_is_of_the_weights_of_the_parts_asked_for(tiny_sd, copy):
    here, there = BaseModel(str(tiny_sd)), BaseModel(str(copy))
    assert here.fingerprint("vae", "text_encoder") == there.fingerprint("vae", "text_encoder")
    assert here.fingerprint("vae") != here.fingerprint("text_encoder")
    (file,) = (copy / "vae").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert here.fingerprint("vae") != there.fingerprint("vae")
    assert here.fingerprint("text_encoder") == there.fingerprint("text_encoder")
    assert BaseModel("owner/base", "main").fingerprint("vae") != BaseModel("owner/base").fingerprint("vae")


@pytest.fixture(scope="module")
def saved(tiny_sd, tmp_path_factory):
    """(folder, base, the U-Net that was put in)"""
    base = BaseModel(str(tiny_sd))
    unet = base.unet()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.01
    folder = tmp_path_factory.mktemp("run") / "pipeline"
    save_pipeline(folder, base=base, unet=unet, scheduler_changes={"prediction_type": "v_prediction"})
    return folder, base, unet


def test_diffusers_loads_what_was_saved_bit_for_bit(saved):
    from diffusers import StableDiffusionPipeline

    folder, base, unet = saved
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    assert pipeline.safety_checker is None
    for part, expected in (("unet", unet), ("vae", base.vae()), ("text_encoder", base.text_encoder())):
        loaded = getattr(pipeline, part).state_dict()
        assert loaded.keys() == expected.state_dict().keys()
        assert all(torch.equal(loaded[key], value) for key, value in expected.state_dict().items())
    words = "a dermoscopic image with melanoma (MEL) showing gel bubble"
    assert pipeline.tokenizer(words).input_ids == base.tokenizer()(words).input_ids
    scheduler = pipeline.scheduler.config
    assert (scheduler["_class_name"], scheduler["clip_sample"]) == ("DDIMScheduler", False)
    assert scheduler["prediction_type"] == "v_prediction"


def test_we_load_what_was_saved(saved):
    folder, base, unet = saved
    model = BaseModel(str(folder))
    loaded = model.unet().state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in unet.state_dict().items())
    ours, theirs = model.schedule(), base.schedule()
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    assert ours.timesteps(20).tolist() == theirs.timesteps(20).tolist()
    assert (ours.final_alpha_cumprod, ours.prediction_type) == (theirs.final_alpha_cumprod, "v_prediction")


def test_no_path_of_this_machine_is_handed_on(saved, tiny_sd):
    folder, _, _ = saved
    files = [file for file in folder.rglob("*") if file.suffix in (".json", ".txt", ".md")]
    assert len(files) >= 6
    for file in files:
        text = file.read_text()
        assert str(tiny_sd) not in text, file
        assert str(folder.parent) not in text, file
        assert str(Path.home()) not in text, file
        assert "_name_or_path" not in text, file


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(saved, tmp_path):
    """A run that was killed between saving and sealing saves once more."""
    _, base, unet = saved
    folder = tmp_path / "pipeline"
    for prediction_type in ("epsilon", "v_prediction"):
        changes = {"prediction_type": prediction_type}
        save_pipeline(folder, base=base, unet=unet, scheduler_changes=changes)
    assert BaseModel(str(folder)).schedule().prediction_type == "v_prediction"
    assert list(tmp_path.iterdir()) == [folder]


def test_pickled_weights_are_refused(tiny_sd, tmp_path):
    import shutil

    from safetensors.torch import load_file

    shutil.copytree(tiny_sd, tmp_path / "pickled")
    for part in ("unet", "vae"):
        file = tmp_path / "pickled" / part / "diffusion_pytorch_model.safetensors"
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()
    model = BaseModel(str(tmp_path / "pickled"))
    for load in (model.unet, model.vae):
        with pytest.raises(UserError, match=r"found only the pickle .*\.bin, which can run code"):
            load()
