"""Execution settings change the speed of the U-Net but not its results."""

from __future__ import annotations

import logging
import os
import shutil
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from latentpath.diffusion import execution
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.execution import (
    ATTENTION_BACKENDS,
    LONG_WORK,
    attention_kernel,
    device_of,
    dtype_of,
    fastest_attention,
    largest_batch,
    peak_memory,
    prepare,
    should_compile,
    unet_flops,
)
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.mix import guided
from latentpath.errors import UserError

GIB = 2**30
LATENTS, EMBEDS = torch.randn(3, 4, 8, 8), torch.randn(4, 7, 16)
LETTERS = [guided(prompt, negative=3, scale=7.5) for prompt in range(3)]
COMPILER = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)


class Machine:
    """A clock and a memory that only `run` moves: a row takes `seconds(n) / n` seconds and `row` bytes."""

    def __init__(
        self, seconds=lambda n: 1.0, row: int = 0, fits: int = 10**9, failure: Exception | None = None
    ):
        self.seconds, self.row, self.fits = seconds, row, fits
        self.failure = failure or torch.OutOfMemoryError("CUDA out of memory.")
        self.now, self.peak = 0.0, GIB
        self.tried: list[int] = []

    def run(self, rows: int) -> None:
        if rows not in self.tried:
            self.tried.append(rows)
        if rows > self.fits:
            raise self.failure
        self.now += self.seconds(rows)
        self.peak = max(self.peak, GIB + rows * self.row)


@pytest.fixture
def machine(monkeypatch):
    def build(available: float = float("inf"), **options) -> Machine:
        built = Machine(**options)
        monkeypatch.setattr(execution, "perf_counter", lambda: built.now)
        monkeypatch.setattr(execution, "peak_memory", lambda device: built.peak)
        monkeypatch.setattr(execution, "_resident", lambda: GIB)
        monkeypatch.setattr(execution, "_available", lambda: available)
        return built

    return build


def tiny(folder, **options) -> Any:
    return prepare(BaseModel(str(folder)).unet(), **({"device": "cpu", "dtype": torch.float32} | options))


@torch.no_grad()
def answer(unet: Any) -> torch.Tensor:
    embeds = EMBEDS[:3].to(unet.dtype)
    return unet(LATENTS.to(unet.dtype), torch.full((3,), 500), encoder_hidden_states=embeds).sample


@pytest.mark.parametrize(
    "options, tolerance", [({"channels_last": True}, 1e-5), ({"dtype": torch.bfloat16}, 3e-2)]
)
def test_a_prepared_unet_answers_as_before(tiny_sd, options, tolerance):
    unet = tiny(tiny_sd, **options)
    assert not unet.training
    assert not any(weight.requires_grad for weight in unet.parameters())
    assert unet.dtype == options.get("dtype", torch.float32)
    torch.testing.assert_close(answer(unet).float(), answer(tiny(tiny_sd)), atol=tolerance, rtol=tolerance)


def test_channels_last_is_the_weights_layout_and_stays(tiny_sd):
    unet = tiny(tiny_sd, channels_last=True)
    again = prepare(unet, device="cpu", dtype=torch.float32)
    assert again.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert not again.conv_in.weight.is_contiguous()


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_a_compiled_unet_answers_as_before():
    """Of one block down and one up, because each kernel takes the C++ compiler a second."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("UpBlock2D",),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    plain = prepare(unet, device="cpu", dtype=torch.float32)
    compiled = prepare(plain, device="cpu", dtype=torch.float32, compile=True)
    assert (compiled.device, compiled.dtype) == (plain.device, plain.dtype)
    assert compiled.config.in_channels == 4
    torch.testing.assert_close(answer(compiled), answer(plain), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "wanted, device, flop, compiles",
    [
        (None, "cuda", LONG_WORK, True),
        (None, "cuda", LONG_WORK / 2, False),
        (None, "cpu", LONG_WORK, False),
        (True, "cpu", 0, True),
        (False, "cuda", LONG_WORK, False),
    ],
)
def test_long_work_on_a_gpu_is_compiled_unless_the_user_chooses(wanted, device, flop, compiles):
    assert should_compile(wanted, device, lambda: flop) == compiles


@pytest.fixture
def counter(monkeypatch) -> CompileCounter:
    """In the place of the compiler: counts what it is given, and runs it as it is."""
    torch._dynamo.reset()
    counter, compile = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda unet, **how: compile(unet, backend=counter, **how))
    return counter


@pytest.mark.parametrize("timesteps", [(981, 961, 1, 0), (999.0, 958.5, 0.0)])
def test_a_sweep_compiles_once(tiny_sd, counter, timesteps):
    """Whatever the timestep, the rows and the layout: a static denoiser calls with one shape."""
    unet = tiny(tiny_sd, channels_last=True, compile=True)
    denoise = GuidedDenoiser(unet, Conditioning(EMBEDS), LETTERS, batch_size=2, static=True)
    z = LATENTS
    for rows, timestep in zip((3, 3, 2, 1), timesteps, strict=False):
        z = denoise(z[:rows], timestep, [0, 1, 2][:rows])
    assert counter.frame_count == 1


def test_a_compiled_unet_keeps_the_attention_it_was_traced_with(tiny_sd, counter):
    """Why attention is measured on the plain U-Net. If this fails, torch has learnt better: simplify."""
    unet = tiny(tiny_sd, compile=True)
    for name in ("flash", "math"):
        with attention_kernel(name):
            answer(unet)
    assert counter.frame_count == 1


def test_a_device_is_chosen_by_name_or_refused():
    assert device_of("cpu", 3) == torch.device("cpu")
    with pytest.raises(ValueError, match="tpu"):
        device_of("tpu")


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
@pytest.mark.parametrize("shown, rank, number", [(4, 0, 0), (4, 3, 3), (1, 3, 0)])
def test_a_process_takes_the_gpu_of_its_rank(monkeypatch, accelerator, shown, rank, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: shown)
    assert device_of(accelerator, rank) == torch.device("cuda", number)


def test_a_missing_gpu_is_reported(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_of("auto") == torch.device("cpu")
    for accelerator in ("gpu", "cuda", "mps"):
        with pytest.raises(UserError, match=f"trainer.accelerator is {accelerator}"):
            device_of(accelerator)


def test_precisions():
    from latentpath.config.choices import PRECISIONS

    half = {"bf16": torch.bfloat16, "16": torch.float16, "32": torch.float32}
    assert {name: dtype_of(name) for name in PRECISIONS} == {n: half[n.split("-")[0]] for n in PRECISIONS}
    for wrong in ("64-true", "bf16", "16-bit"):
        with pytest.raises(ValueError, match=wrong):
            dtype_of(wrong)


def kernels() -> list[str]:
    """The kernels that a call sees allowed."""
    from torch.backends import cuda

    allowed = {
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
    }
    return [name for name, on in allowed.items() if on]


@pytest.mark.parametrize("fastest", ATTENTION_BACKENDS)
def test_the_fastest_kernel_wins(machine, fastest):
    clock = machine()

    def run() -> None:
        (kernel,) = kernels()
        clock.now += 1.0 if kernel == fastest else 2.0

    assert fastest_attention(run, device="cpu") == fastest
    assert len(kernels()) > 1, "all kernels are allowed again"


def test_the_first_call_and_an_outlier_do_not_count(machine):
    clock, calls = machine(), {name: 0 for name in ATTENTION_BACKENDS}

    def run() -> None:
        (kernel,) = kernels()
        calls[kernel] += 1
        slow = calls[kernel] == 1 or (kernel == "efficient" and calls[kernel] == 3)
        clock.now += 60 if slow else {"efficient": 1.0}.get(kernel, 1.5)

    assert fastest_attention(run, device="cpu") == "efficient"


def test_a_kernel_that_does_not_work_is_left_out(machine):
    clock = machine()

    def run() -> None:
        (kernel,) = kernels()
        if kernel in ("flash", "cudnn"):
            raise RuntimeError("No available kernel. Aborting execution.")
        if kernel == "math":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        clock.now += 1

    assert fastest_attention(run, device="cpu") == "efficient"


def test_what_fails_in_every_kernel_is_raised():
    def run() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fastest_attention(run, device="cpu")


def test_attention_of_a_real_unet(tiny_sd):
    unet = tiny(tiny_sd)
    assert fastest_attention(lambda: answer(unet), device="cpu") in ("flash", "math")


def test_the_largest_batch_is_what_a_step_has(machine, caplog):
    machine_ = machine(seconds=lambda n: 0.1)
    with caplog.at_level(logging.INFO):
        assert largest_batch(machine_.run, most=40, device="cpu") == 40
    assert machine_.tried == [1, 2, 4, 8, 16, 32, 40]
    (line,) = caplog.messages
    assert line.startswith("batch size: 40 (rows/s by size: 1: 10, 2: 20, 4: 40,")


@pytest.mark.parametrize("most, tried", [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (16, [1, 2, 4, 8, 16])])
def test_sizes_double_up_to_the_most(machine, most, tried):
    machine_ = machine()
    assert largest_batch(machine_.run, most=most, device="cpu") == most
    assert machine_.tried == tried


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_ends_the_search(machine, failure, caplog):
    machine_ = machine(fits=11, failure=failure)
    with caplog.at_level(logging.INFO):
        assert largest_batch(machine_.run, most=64, device="cpu") == 8
    assert machine_.tried == [1, 2, 4, 8, 16]
    assert "more do not fit" in caplog.text


def test_what_is_not_memory_is_raised(machine):
    machine_ = machine(fits=3, failure=RuntimeError("shapes"))
    with pytest.raises(RuntimeError, match="shapes"):
        largest_batch(machine_.run, most=64, device="cpu")


def test_not_even_one_row(machine):
    with pytest.raises(UserError, match="not even one row fits into the memory of cpu"):
        largest_batch(machine(fits=0).run, most=64, device="cpu")


def test_a_cpu_is_not_driven_out_of_memory(machine):
    """A row needs 1 GiB and 10 are left: 8 would fit, 16 are not tried."""
    machine_ = machine(row=GIB, available=10 * GIB)
    assert largest_batch(machine_.run, most=64, device="cpu") == 8
    assert machine_.tried == [1, 2, 4, 8]


def test_a_smaller_batch_is_taken_if_it_is_faster_by_more_than_a_twentieth(machine):
    speed = {1: 50, 2: 100, 4: 106, 8: 104, 16: 100}
    assert largest_batch(machine(seconds=lambda n: n / speed[n]).run, most=16, device="cpu") == 8
    speed[16] = 102
    assert largest_batch(machine(seconds=lambda n: n / speed[n]).run, most=16, device="cpu") == 16


def test_the_search_ends_when_doubling_does_not_pay(machine):
    speed = {1: 50, 2: 40, 4: 100, 8: 80, 16: 85}
    machine_ = machine(seconds=lambda n: n / speed[n])
    assert largest_batch(machine_.run, most=256, device="cpu") == 4
    assert machine_.tried == [1, 2, 4, 8, 16]


def test_the_search_ends_before_a_run_of_more_than_five_seconds(machine):
    machine_ = machine(seconds=lambda n: 0.7 * n)
    assert largest_batch(machine_.run, most=256, device="cpu") == 4
    assert machine_.tried == [1, 2, 4]


def test_padding_counts_where_the_rows_of_the_steps_are_known(machine):
    """Equally fast a row from 4 on. In batches of 32 these steps take 128 rows, in batches of 8 only 80."""
    steps = [8, 24, 40, 8]
    machine_ = machine(seconds=lambda n: max(n, 4) / 100)
    assert largest_batch(machine_.run, most=40, device="cpu") == 40
    assert largest_batch(machine_.run, most=40, device="cpu", steps=steps) == 8


def test_a_real_unet_finds_a_batch(tiny_sd):
    unet = tiny(tiny_sd)
    rows: list[int] = []

    @torch.no_grad()
    def run(n: int) -> None:
        rows.append(n)
        unet(torch.randn(n, 4, 8, 8), torch.zeros(n), torch.randn(n, 7, 16))

    assert largest_batch(run, most=4, device="cpu") in (1, 2, 4)
    assert rows == [1] * 5 + [2] * 5 + [4] * 5


def test_flops_of_stable_diffusion():
    config = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}  # SD 1.5's
    assert unet_flops(config, (4, 64, 64), (77, 768)) == pytest.approx(803e9, rel=0.01)
    assert unet_flops(config, (4, 32, 32), (77, 768)) == pytest.approx(180e9, rel=0.01)


def test_flops_of_sdxl_are_eight_times_those_of_stable_diffusion_at_its_own_size():
    config = {
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    assert unet_flops(config, (4, 128, 128), (77, 2048)) == pytest.approx(6.76e12, rel=0.01)


def test_flops_are_those_of_a_real_run(tiny_sd):
    """Attention too: its part grows with the square of the latents."""
    from torch.utils.flop_counter import FlopCounterMode

    unet = tiny(tiny_sd)
    with FlopCounterMode(display=False) as counter:
        answer(unet)
    assert 3 * unet_flops(unet.config, (4, 8, 8), (7, 16)) == counter.get_total_flops()
    small, large = (unet_flops(unet.config, (4, size, size), (7, 16)) for size in (8, 16))
    assert large > 4.2 * small


def test_tensors_that_stay_in_memory_are_counted():
    held = torch.ones(2**24)  # of four bytes each
    assert peak_memory("cpu") > held.nbytes
    if execution.Path("/proc/meminfo").exists():
        assert execution._resident() > held.nbytes
        assert 2**20 < execution._available() < 2**60
