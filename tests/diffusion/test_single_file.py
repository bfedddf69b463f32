"""A single file with a configuration gives the networks of the folder that it was written from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentpath.diffusion.components import BaseModel
from latentpath.errors import UserError


@pytest.fixture(params=["sd1", "sd2", "sdxl"])
def family(request) -> str:
    return request.param


@pytest.fixture
def whole(family, request) -> Path:
    return request.getfixturevalue("tiny_sdxl" if family == "sdxl" else "tiny_sd")


@pytest.fixture
def single(family, whole, tmp_path) -> BaseModel:
    """The weights of `whole` in a file, and a folder with its configuration and tokenizers alone."""
    write_single_file(whole, tmp_path / "model.safetensors", family)
    config = Path(shutil.copytree(whole, tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors")))
    return BaseModel(str(tmp_path / "model.safetensors"), config=str(config))


def test_every_network_is_that_of_the_folder(whole, single):
    folder = BaseModel(str(whole))
    single.check()
    for part in ("unet", "vae"):
        assert_same(getattr(single, part)(), getattr(folder, part)())
    for name, part in folder.text_parts().items():
        if name.startswith("text_encoder"):
            assert_same(single.text_parts()[name], part)
    prompts = ["melanoma with hair", ""]
    found, expected = (model.prompt_encoder(32)(prompts) for model in (single, folder))
    assert torch.equal(found.hidden, expected.hidden)
    assert single.latent_shape(32) == folder.latent_shape(32)
    assert single.scaling_factor() == folder.scaling_factor()
    assert single.unet(torch.bfloat16).dtype == torch.bfloat16


def assert_same(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    weights = found.state_dict()
    assert weights.keys() == expected.state_dict().keys()
    for name, weight in expected.state_dict().items():
        assert torch.equal(weights[name], weight), name
    assert found.training == expected.training


def test_the_file_and_its_configuration_make_the_fingerprint(single):
    before = single.fingerprint("unet")
    file = Path(single.source)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert single.fingerprint("unet") != before


def test_what_is_missing_or_wrong_is_named(single, tmp_path):
    for config, says in ((None, "it holds no configuration"), ("/no/where", "/no/where is no folder")):
        with pytest.raises(UserError, match=rf"is a single file; .*{says}.*\. Give model\.config=/a/folder"):
            BaseModel(single.source, config=config).check()
    with pytest.raises(UserError, match="no such file"):
        BaseModel(str(tmp_path / "none.safetensors"), config=single.config).check()
    pickled = Path(single.source).rename(tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="a pickle, which can run code"):
        BaseModel(str(pickled), config=single.config).check()
    shutil.rmtree(Path(single.config) / "tokenizer")
    with pytest.raises(UserError, match="tokenizer/ is missing"):
        BaseModel(str(pickled.rename(single.source)), config=single.config).check()


# The single file, written from a folder: the names are those of the original code of Stable Diffusion.
State = dict[str, Tensor]
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE = {
    "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out",
    "mid_block.attentions.0.": "mid.attn_1.",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_single_file(folder: Path, file: Path, family: str) -> None:
    """Write the weights of `folder`, a tiny Stable Diffusion 1 or XL of tests/conftest.py, to `file`."""
    state = {f"model.diffusion_model.{k}": w for k, w in _unet(_read(folder, "unet")).items()}
    state |= {f"first_stage_model.{k}": w for k, w in _vae(_read(folder, "vae")).items()}
    clip = _read(folder, "text_encoder")
    if family == "sd2":
        state |= {f"cond_stage_model.model.{k}": w for k, w in _open_clip(clip).items()}
    else:
        prefix = "conditioner.embedders.0" if family == "sdxl" else "cond_stage_model"
        state |= {f"{prefix}.transformer.text_model.{_bare(k)}": w for k, w in clip.items()}
    if family == "sdxl":
        open_clip = _open_clip(_read(folder, "text_encoder_2"))
        state |= {f"conditioner.embedders.1.model.{k}": w for k, w in open_clip.items()}
    save_file({k: w.contiguous() for k, w in state.items()}, file)


def _read(folder: Path, part: str) -> State:
    (file,) = (folder / part).glob("*.safetensors")
    return load_file(file)


def _bare(name: str) -> str:
    return name.removeprefix("text_model.")


def _renamed(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        name = name.replace(old, new)
    return name


def _unet(weights: State) -> State:
    """Number the blocks as the original does: with two levels of one resnet down, and two up."""
    attends = {name.split(".attentions")[0] for name in weights if ".attentions" in name}
    found = {}
    for name, weight in weights.items():
        if match := re.match(r"(down|up|mid)_block(?:s\.(\d))?\.(\w+)\.(\d)\.(.*)", name):
            way, level, kind, number, rest = match.groups()
            level, number, block = int(level or 0), int(number), name.split(f".{kind}")[0]
            if kind == "resnets":
                rest = _renamed(rest, _RESNET)
            if way == "mid":
                place = f"middle_block.{1 if kind == 'attentions' else 2 * number}"
            elif kind == "downsamplers":
                place, rest = f"input_blocks.{2 * (level + 1)}.0", rest.replace("conv", "op")
            elif kind == "upsamplers":
                place = f"output_blocks.{2 * level + 1}.{2 if block in attends else 1}"
            else:
                first = 2 * level + number
                place = f"output_blocks.{first}" if way == "up" else f"input_blocks.{first + 1}"
                place += f".{int(kind == 'attentions')}"
            found[f"{place}.{rest}"] = weight
        else:
            found[_renamed(name, _UNET)] = weight
    return found


def _vae(weights: State) -> State:
    levels = 1 + max(int(n) for name in weights for n in re.findall(r"up_blocks\.(\d)", name))
    found = {}
    for name, weight in weights.items():
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", new)
        new = re.sub(
            r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", new
        )
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        is_projection = "attentions" in name and name.endswith("weight") and weight.ndim == 2
        found[_renamed(new, _VAE)] = weight[:, :, None, None] if is_projection else weight
    return found


def _open_clip(weights: State) -> State:
    """Join the projections to queries, keys and values, and turn the last projection over."""
    found = {}
    for name, weight in weights.items():
        name = _bare(name)
        if name == "text_projection.weight":
            found["text_projection"] = weight.T
        elif ".q_proj." in name:
            parts = [
                weights[key]
                for letter in "qkv"
                for key in weights
                if _bare(key) == name.replace("q_proj", f"{letter}_proj")
            ]
            new = _renamed(name.split(".self_attn")[0], _OPEN_CLIP)
            found[f"{new}.attn.in_proj_{name.rsplit('.')[-1]}"] = torch.cat(parts)
        elif not re.search(r"\.[kv]_proj\.|position_ids", name):
            found[_renamed(name, _OPEN_CLIP)] = weight
    return found
