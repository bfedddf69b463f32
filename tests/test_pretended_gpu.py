"""Finds, without a GPU, code that would fail or wait on a GPU.

Fake tensors have a shape, a type and the device "cuda", but no values. A kernel that gets tensors of two
devices raises as on a GPU. `Pretended` counts the copies between host and device, and the values that the
program asks the device for, each of which waits until all work before it is done.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from latentpath.config import methods as config_of_methods
from latentpath.config.choices import SOLVERS
from latentpath.config.methods import MethodsConfig
from latentpath.config.training import FinetuneConfig
from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.autoencoder import decode, encode
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.inversion import ddim_inversion, ddpm_inversion
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import Solver, build_solver
from latentpath.judge.classifier import Classifier
from latentpath.judge.features import judge_features
from latentpath.judge.networks import build_network
from latentpath.metrics import l1, ssim
from latentpath.training.averaging import WeightEMA
from latentpath.training.finetune import UNetFinetuner
from latentpath.traversal.engine import walk
from latentpath.traversal.methods import METHODS, chosen
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.suffixes import states_at, walk_suffixes
from latentpath.traversal.tuning import tune

SHAPE, STEPS, SEEDS = (4, 8, 8), 4, (3, 11)
CAPTIONS = CaptionTemplate(
    "an image with {cls} showing {attributes}", "an image with {cls}", {"MEL": "melanoma"}, {"hair": "hair"}
)
PLAN = plan_sweep(
    CAPTIONS, classes=["MEL"], attributes=["hair"], swap_steps=[0, 2], num_inference_steps=STEPS, seeds=SEEDS
)
FIRST = PLAN.branches[0]


class Pretended(TorchDispatchMode):
    """Counts `waits`, values of the device that were asked for, and `to_host`, copies from it.

    A value of the host is 0, since fake tensors have none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.to_host, self.to_device = 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            self.waits += args[0].device.type == "cuda"
            return _zero(args[0])
        if name == "index" and args[0].device.type == "cpu":  # which fake tensors allow, and a GPU does not
            assert all(index is None or index.device.type == "cpu" for index in args[1]), (
                "an index on the GPU"
            )
        result = func(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            ways = source.device.type, result.device.type
            self.to_host += ways == ("cuda", "cpu")
            self.to_device += ways == ("cpu", "cuda")
        return result


def _zero(value: Tensor) -> float | int | bool:
    if value.dtype == torch.bool:
        return False
    return 0.0 if value.is_floating_point() else 0


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as tensors know; counts what runs in the test."""
    # A copy of a network stays on the same pretended machine; and a fake weight cannot be moved in place, but
    # these networks are made where they are to be.
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda self, memo: self, raising=False)
    monkeypatch.setattr(nn.Module, "to", lambda self, *args, **options: self)
    with FakeTensorMode(), Pretended() as counted:
        yield counted


@pytest.fixture
def unet(tiny_sd, gpu):
    return _on_gpu(BaseModel(str(tiny_sd)).unet)


@pytest.fixture
def vae(tiny_sd, gpu):
    return _on_gpu(BaseModel(str(tiny_sd)).vae)


def _on_gpu(load) -> Any:
    """The network that `load` gives, made anew on the pretended GPU."""
    with _disable_current_modes():
        network = load()
    with torch.device("cuda"):
        return type(network).from_config(network.config)


@pytest.fixture
def denoise(unet) -> GuidedDenoiser:
    conditioning = Conditioning(torch.randn(len(PLAN.prompts), 7, 16, device="cuda"))
    letters = [PLAN.indexed(letter) for letter in PLAN.letters]
    return GuidedDenoiser(unet, conditioning, letters, batch_size=3)


def _solver(tiny_sd, name: str = "ddim", eta: float = 0.0) -> Solver:
    with _disable_current_modes():
        return build_solver(name, BaseModel(str(tiny_sd)).schedule(), STEPS, eta=eta)


@pytest.fixture
def quiet(gpu):
    """`quiet()` is true while no step has waited for the device since the fixture was made."""
    gpu.waits = gpu.to_host = 0
    return lambda: (gpu.waits, gpu.to_host) == (0, 0)


def test_a_tensor_on_the_wrong_device_raises(unet):
    """The tests below rest on it."""
    with pytest.raises(RuntimeError, match="device"):
        unet(torch.zeros(1, *SHAPE), torch.zeros(1), torch.zeros(1, 7, 16))


def test_waits_and_copies_are_counted(gpu):
    there = torch.ones(3, device="cuda")
    assert there.sum().item() == 0 and there.cpu().tolist() == [0, 0, 0]
    assert (gpu.waits, gpu.to_host, gpu.to_device) == (1, 1, 0)
    torch.zeros(3).to("cuda")
    assert gpu.to_device == 1


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_walk_stays_on_the_device_and_never_waits(solver, static, denoise, quiet, tiny_sd):
    denoise.static = static
    sampler = Sampler(denoise, _solver(tiny_sd, solver), SeededNoise(SHAPE), "cuda")
    leaves, latents = walk(PLAN, sampler, cls="MEL", seeds=SEEDS)
    assert latents.shape == (len(leaves), *SHAPE) and latents.device.type == "cuda"
    assert denoise.calls == PLAN.unet_calls and quiet()


@pytest.mark.parametrize("name", [*(name for name in METHODS if name != "slider"), "mask", "sdedit"])
def test_a_walk_of_each_method_stays_on_the_device_and_never_waits(name, unet, quiet, tiny_sd):
    """But for sliders, which change the U-Net and not the latents."""
    settings = getattr(config_of_methods, f"{name.capitalize()}Config")()
    plan = plan_sweep(
        replace(CAPTIONS, attribute_names={"hair": "hair", "ink": "ink"}),
        classes=["MEL"],
        attributes=["hair", "ink"],
        swap_steps=[0, 2],
        num_inference_steps=STEPS,
        seeds=SEEDS,
        methods=chosen(MethodsConfig(**{name: settings})),
    )
    conditioning = Conditioning(torch.randn(len(plan.prompts), 7, 16, device="cuda"))
    letters = [plan.indexed(letter) for letter in plan.letters]
    tokens = [tuple(range(7))] * len(plan.prompts)
    denoise = GuidedDenoiser(unet, conditioning, letters, batch_size=3, tokens=tokens)
    solver, noise = _solver(tiny_sd), SeededNoise(SHAPE)
    sampler = Sampler(denoise, solver, noise, "cuda", plan.remembers, plan.borrows)
    leaves, latents = walk(plan, sampler, cls="MEL", seeds=SEEDS)
    assert latents.shape == (len(leaves), *SHAPE) and latents.device.type == "cuda"
    assert denoise.calls == plan.unet_calls and quiet()


def test_suffixes_of_a_search_stay_on_the_device(denoise, quiet, tiny_sd):
    sampler = Sampler(denoise, _solver(tiny_sd, "dpmpp_2m"), SeededNoise(SHAPE), "cuda")
    trunk: list = []
    walk(PLAN, sampler, cls="MEL", seeds=SEEDS, trunk=trunk)
    steps, places = [3, 1, 2], [1, 0, 1]
    seeds = [SEEDS[place] for place in places]
    starts = states_at(trunk, steps, places)
    found = walk_suffixes(sampler, starts, words=[[1] * STEPS] * 3, steps=steps, seeds=seeds)
    assert found.shape == (3, *SHAPE) and found.device.type == "cuda" and quiet()


@pytest.mark.parametrize("method", ["ddpm", "ddim"])
def test_an_inversion_and_its_walk_stay_on_the_device(method, denoise, quiet, tiny_sd):
    latents = torch.randn(len(SEEDS), *SHAPE, device="cuda")
    letters = [PLAN.letters.index(PLAN.edit("MEL", FIRST))] * len(SEEDS)
    solver = _solver(tiny_sd, eta=float(method == "ddpm"))
    invert = ddpm_inversion if method == "ddpm" else ddim_inversion
    noise = invert(latents, seeds=SEEDS, denoise=lambda z, t: denoise(z, t, letters), solver=solver)
    _, found = walk(PLAN, Sampler(denoise, solver, noise, "cuda"), cls="MEL", seeds=SEEDS)
    assert found.device.type == "cuda" and quiet()


def test_batch_size_auto_tries_on_the_device(denoise, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)  # there is none to wait for
    tune(
        denoise,
        latent_shape=SHAPE,
        batch_size="auto",
        attention="default",
        step_rows=[2, 5],
        device=torch.device("cuda"),
    )
    assert 1 <= denoise.batch_size <= 5


def test_encoding_and_decoding_take_one_copy_a_batch(vae, gpu):
    images = torch.zeros(5, 3, 32, 32)
    latents = encode(vae, images, batch_size=2)
    assert latents.shape == (5, *SHAPE) and (gpu.to_device, gpu.to_host) == (3, 3)
    assert decode(vae, latents, batch_size=2).shape == images.shape
    assert (gpu.to_device, gpu.to_host, gpu.waits) == (6, 6, 0)
    assert decode(vae, latents.to("cuda"), batch_size=2, to="cuda").device.type == "cuda"
    assert gpu.to_host == 6


@pytest.fixture
def classifier(gpu) -> Classifier:
    with torch.device("cuda"):
        network = build_network("resnet_micro", num_outputs=3, pretrained=False)
        named = {"arch": "resnet_micro", "image_size": 32, "classes": ["MEL", "NV"], "attributes": ["hair"]}
        return Classifier(network, **named)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_judge_takes_images_of_either_device(device, classifier, gpu):
    images = torch.zeros(4, 3, 48, 48, device=device)
    classes, attributes = classifier.predict(images)
    assert classes.device.type == attributes.device.type == device
    assert judge_features(classifier, images).device.type == "cpu"
    assert gpu.waits == 0


@pytest.mark.parametrize("measure", [l1, ssim])
def test_images_are_compared_on_the_device(measure, gpu):
    images, reference = (torch.zeros(n, 3, 32, 32, device="cuda") for n in (3, 1))
    assert measure(images, reference).device.type == "cuda"


@pytest.fixture
def task(unet, tiny_sd, monkeypatch) -> UNetFinetuner:
    with _disable_current_modes():
        schedule = BaseModel(str(tiny_sd)).schedule()
    schedule = replace(schedule, alphas_cumprod=torch.empty(len(schedule.alphas_cumprod)))
    trainer = SimpleNamespace(world_size=1, precision_plugin=SimpleNamespace())
    monkeypatch.setattr(UNetFinetuner, "trainer", trainer)
    monkeypatch.setattr(UNetFinetuner, "log", lambda *args, **options: None)
    captions = Conditioning(torch.randn(4, 7, 16))
    settings = FinetuneConfig(max_steps=5, lr=1e-3, min_snr_gamma=5.0, noise_offset=0.1)
    model = {"schedule": schedule, "scaling_factor": 0.18, "seed": 0}
    return UNetFinetuner(unet.train(), settings, captions=captions, **model)


def test_a_training_step_stays_on_the_device_and_never_waits(task, gpu, quiet):
    """All but the backward pass, for which autograd wants a device that is there."""
    task._device = torch.device("cuda:0")  # as Lightning's Trainer sets it
    task.on_fit_start()
    gpu.to_device = 0
    batch = {"moments": torch.randn(2, 8, 8, 8), "captions": torch.zeros(2, dtype=torch.int64)}
    batch |= {"places": torch.arange(2), "number": torch.tensor(0)}
    loss = task.training_step(task.transfer_batch_to_device(batch, torch.device("cuda"), 0), 0)
    # The batch's moments, captions and number; two noises and the timesteps.
    assert loss.device.type == "cuda" and gpu.to_device == 6
    optimizer = task.configure_optimizers()["optimizer"]
    for parameter in task.unet.parameters():
        parameter.grad = torch.zeros_like(parameter)
    task.configure_gradient_clipping(optimizer, 1.0)
    optimizer.step()
    assert optimizer.defaults["fused"] and quiet()


def test_an_average_stays_on_the_device_and_never_waits(task, quiet):
    average = WeightEMA(0.9)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")), global_step=0)
    average.setup(trainer, task, "fit")  # pyright: ignore[reportArgumentType]
    for step in (1, 2):
        trainer.global_step = step
        average.on_train_batch_end(trainer, task, None, None, step)  # pyright: ignore[reportArgumentType]
    assert {p.device.type for p in average.averaged.parameters()} == {"cuda"} and quiet()
