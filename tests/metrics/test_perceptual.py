"""LPIPS (random backbones), SSIM, L1: identity, symmetry, closed forms, and torchmetrics as a peer."""

import os
import warnings
from pathlib import Path

import lpips
import pytest
import torch
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity
from torchvision import models

from latentpath.errors import UserError
from latentpath.metrics import l1, lpips_distance, lpips_maps, lpips_or_none, ssim

FILE = "squeezenet1_1-b8a52dc0.pth"


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory) -> Path:
    """A TORCH_HOME with a randomly initialised SqueezeNet in torchvision's file format."""
    home = tmp_path_factory.mktemp("torch_home")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(models.squeezenet1_1(weights=None).state_dict(), home / "hub" / "checkpoints" / FILE)
    return home


@pytest.fixture
def squeeze(torch_home, monkeypatch) -> lpips.LPIPS:
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    model = lpips_or_none("squeeze")
    assert model is not None
    return model


def test_lpips_identity_symmetry_and_growth(squeeze, images):
    other = images.flip(0)
    assert (lpips_distance(squeeze, images, images) == 0).all()
    forth, back = lpips_distance(squeeze, images, other), lpips_distance(squeeze, other, images)
    torch.testing.assert_close(forth, back)
    near = lpips_distance(squeeze, images + 0.05 * (other - images), images)
    assert (near < forth).logical_or(forth == 0).all() and near[0] > 0


def check_against_peer(model: lpips.LPIPS, images: torch.Tensor) -> None:
    other = images.flip(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = [
            learned_perceptual_image_patch_similarity(a[None], b[None], net_type="squeeze", normalize=True)
            for a, b in zip(images, other, strict=True)
        ]
    torch.testing.assert_close(lpips_distance(model, images, other), torch.stack(peer), rtol=1e-4, atol=1e-6)


def test_lpips_equals_torchmetrics(squeeze, images):
    check_against_peer(squeeze, images)


def test_lpips_equals_torchmetrics_on_imagenet_weights(images):
    """The same with the real backbone, where TORCH_HOME has it."""
    if not (Path(torch.hub.get_dir()) / "checkpoints" / FILE).is_file():
        pytest.skip(f"no {FILE} under TORCH_HOME ({os.environ.get('TORCH_HOME', 'not set')})")
    model = lpips_or_none("squeeze")
    assert model is not None
    check_against_peer(model, images)


def test_one_reference_serves_all_images(squeeze, images):
    repeated = images[:1].expand_as(images)
    for metric in (
        l1,
        ssim,
        lambda x, r: lpips_distance(squeeze, x, r),
        lambda x, r: lpips_maps(squeeze, x, r),
    ):
        torch.testing.assert_close(metric(images, images[:1]), metric(images, repeated), rtol=1e-4, atol=1e-6)


def test_maps_show_where_the_change_is(squeeze, images):
    edited = images.clone()
    edited[:, :, :16, :16] = 1 - edited[:, :, :16, :16]
    maps = lpips_maps(squeeze, edited, images)
    assert maps.shape == (3, 64, 64) and (maps >= 0).all()
    assert (maps[:, :16, :16].mean(dim=(1, 2)) > 3 * maps[:, 40:, 40:].mean(dim=(1, 2))).all()
    assert lpips_distance(squeeze, edited, images).shape == (3,)  # not left in spatial mode


def test_missing_weights_are_named_and_never_fetched(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*args, **kwargs):
        raise AssertionError("tried to download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    for net, file in {
        "squeeze": FILE,
        "alex": "alexnet-owt-7be5be79.pth",
        "vgg": "vgg16-397923af.pth",
    }.items():
        assert lpips_or_none(net) is None
        assert str(tmp_path / "hub" / "checkpoints" / file) in caplog.text


def test_wrong_weight_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a download")
    with pytest.raises(UserError, match=FILE):
        lpips_or_none("squeeze")
    torch.save({"features.0.weight": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=FILE):
        lpips_or_none("squeeze")


def test_loading_leaves_the_random_state_alone(torch_home, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    before = torch.get_rng_state()
    lpips_or_none("squeeze")
    assert torch.equal(before, torch.get_rng_state())


def test_l1_closed_form(images):
    assert l1(torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.25)).tolist() == [0.25, 0.25]
    edited = images.clone()
    edited[0, 0, 0, 0] = 1 - edited[0, 0, 0, 0]
    change = (1 - 2 * images[0, 0, 0, 0]).abs() / (3 * 64 * 64)
    torch.testing.assert_close(l1(edited, images), torch.stack([change, change * 0, change * 0]))


def test_ssim_closed_form_and_symmetry(images):
    torch.testing.assert_close(ssim(images, images), torch.ones(3))
    torch.testing.assert_close(ssim(images, images.flip(0)), ssim(images.flip(0), images))
    # constant images: only the luminance term is left, (2 a b + c1) / (a^2 + b^2 + c1), c1 = 0.01^2
    flat = ssim(torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6))
    torch.testing.assert_close(flat, torch.tensor([(0.24 + 1e-4) / (0.4 + 1e-4)]), rtol=1e-3, atol=0)


def test_values_are_per_image(squeeze, images):
    """An image's value does not depend on its companions in the batch."""
    other = images.flip(0)
    for metric in (l1, ssim, lambda x, r: lpips_distance(squeeze, x, r)):
        alone = torch.cat([metric(images[i : i + 1], other[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(metric(images, other), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("metric", [l1, ssim])
def test_wrong_input_is_refused(metric, images):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        metric(2 * images - 1, images)
    with pytest.raises(ValueError, match="sizes differ"):
        metric(images, images[..., :32])
    with pytest.raises(ValueError, match="must be"):
        metric(images, images[:2])
