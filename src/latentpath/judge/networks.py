"""Builds the networks of the classifier by name: two small ones, every timm model, and those of plugins."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from latentpath.config.plugins import is_reference, load
from latentpath.errors import UserError, near
from latentpath.judge.stage_features import StageFeatures
from latentpath.runs.packaged import efficientnet, installed
from latentpath.runs.weights import FROM_ENVIRONMENT, WeightsFolder

log = logging.getLogger(__name__)

TINY, MICRO = "efficientnet_tiny", "resnet_micro"
# The first blocks, where maps are large, are fused as in EfficientNetV2: on a CPU they are several times
# faster than depthwise ones.
TINY_BLOCKS = [
    "cn_r1_k3_s1_e1_c16_skip",
    "er_r2_k3_s2_e4_c24",
    "er_r2_k3_s2_e4_c40",
    "ir_r3_k3_s2_e4_c80_se0.25",
]


def build_network(
    arch: str,
    *,
    num_outputs: int,
    pretrained: bool,
    trainable: str = "full",
    dropout: float = 0.0,
    weights: WeightsFolder = FROM_ENVIRONMENT,
    plugins: Sequence[str] = (),
) -> nn.Module:
    """Build a network that maps normalised images (n, 3, h, w) to logits (n, num_outputs).

    arch: `efficientnet_tiny` or `resnet_micro` (both small, for 32 to 128 px), the name of a timm model, or
    `my_module:build`, a function of one of the modules `plugins`.
    pretrained: start from the ImageNet weights of timm; the folder `weights` is searched first.
    trainable: `full`, or `head` for one linear layer on the stages of a frozen network (`StageFeatures`).
    Raises UserError for an unknown name or missing pretrained weights.
    """
    if trainable == "head" and (is_reference(arch) or arch in (TINY, MICRO)):
        raise UserError(
            "`trainable=head` needs a network of timm with pretrained weights, such as "
            f"tf_efficientnet_lite0, but `arch` is {arch}. Choose another `arch`, or `trainable=full`."
        )
    if is_reference(arch):
        build = load("classifier.arch", arch, plugins)
        network = build(num_outputs=num_outputs, pretrained=pretrained, dropout=dropout)
        deciding_layer(network, name=arch)  # fails now rather than in the evaluation, an hour later
        return network
    if arch in (TINY, MICRO) and pretrained:
        raise UserError(f"`arch`: {arch} has no pretrained weights; set `pretrained=false`")
    if arch == MICRO:
        # A ConvNeXt of this size, trained as long, misses many of the thin rims of bubbles.
        network = ResNet(
            BasicBlock,  # pyright: ignore[reportArgumentType] (timm means the class)
            (1, 1, 1, 1),
            channels=(24, 48, 96, 128),
            stem_type="deep",
            stem_width=12,
            num_classes=num_outputs,
            drop_rate=dropout,
        )
        network.maxpool = nn.Identity()  # the first blocks then see half the resolution, not a quarter
        return network
    if arch == TINY:
        return EfficientNet(
            decode_arch_def([[block] for block in TINY_BLOCKS]),
            num_classes=num_outputs,
            num_features=256,
            stem_size=24,
            fix_stem=True,
            drop_rate=dropout,
            act_layer=nn.SiLU,
        )
    if not timm.is_model(arch):
        raise UserError(f"`arch`: no model {arch!r}.{near(arch, _names())}")
    if trainable == "head":
        body = _timm_network(arch, 0, pretrained, dropout, weights)
        if not hasattr(body, "forward_intermediates"):
            raise UserError(
                f"`trainable=head` reads the stages of a network, which timm does not give for {arch}; "
                "choose another `arch`, such as tf_efficientnet_lite0"
            )
        return StageFeatures(body, num_outputs=num_outputs)
    return _timm_network(arch, num_outputs, pretrained, dropout, weights)


def _timm_network(
    arch: str, num_outputs: int, pretrained: bool, dropout: float, weights: WeightsFolder
) -> nn.Module:
    source = _pretrained(arch, weights) if pretrained else None
    try:
        network = timm.create_model(
            arch,
            pretrained=pretrained,
            pretrained_cfg_overlay=source,
            num_classes=num_outputs,
            drop_rate=dropout,
        )
    except Exception as error:  # from safetensors, torch or timm
        if source is None or "file" not in source:
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{source['file']}: expected timm's weights of {arch} ({reason}). Delete the file and run "
            "`latentpath fetch` again, or train from random weights with `pretrained=false`."
        ) from None
    settings: Any = network.pretrained_cfg  # Any: of timm
    settings.pop("state_dict", None)  # timm would keep the weights twice
    return network


def deciding_layer(network: nn.Module, *, name: str) -> nn.Module:
    """Return the layer that turns features into logits.

    That is `network.get_classifier()` (as in timm), or else the last nn.Linear of `network`. Raises
    UserError, which calls the network `name`, if there is neither.
    """
    if hasattr(network, "get_classifier"):
        return network.get_classifier()  # pyright: ignore[reportCallIssue]
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(
            f"{name} has neither a method get_classifier() nor an nn.Linear, so its last layer is not known. "
            "Evaluation takes the input of this layer as the features of an image. Let get_classifier() "
            "return the layer, or end the network with an nn.Linear"
        )
    return linear[-1]


def _names() -> list[str]:
    return [TINY, MICRO, *timm.list_models("*efficientnet*"), *timm.list_models("convnext*")]


def _pretrained(arch: str, weights: WeightsFolder) -> dict[str, object]:
    """Return where timm finds the ImageNet weights: in `weights`, a package, or the cache of the hub."""
    if own := weights.timm(arch):
        return {"file": str(own)}
    if installed(arch):
        return {"state_dict": efficientnet(arch)}
    return {"file": str(_from_hub(arch))}


def _from_hub(arch: str) -> Path:
    """Return the ImageNet weights of a timm model from the hub's cache, or from the hub."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    settings = timm.get_pretrained_cfg(arch)
    hub_id = settings.hf_hub_id if settings else None
    instead = "or train from random weights with `pretrained=false`"
    if settings is None or not hub_id:
        raise UserError(f"`arch`: timm has no pretrained weights for {arch}; choose another model, {instead}")
    file = settings.hf_hub_filename or "model.safetensors"
    try:
        return Path(hf_hub_download(hub_id, file, local_files_only=True))
    except LocalEntryNotFoundError:
        log.info("fetching %s of %s from the Hugging Face hub", file, hub_id)
    try:
        return Path(hf_hub_download(hub_id, file, etag_timeout=5))
    except Exception as error:  # no network, offline mode, a proxy, a full disk: the advice is the same
        raise UserError(
            f"`pretrained`: the weights {file} of {hub_id} are not in {constants.HF_HUB_CACHE} and "
            f"cannot be fetched ({type(error).__name__}). Run `hf download {hub_id} {file}` where there is a "
            f"network and copy its cache folder here (HF_HUB_CACHE sets another place), {instead}"
        ) from error
