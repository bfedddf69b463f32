"""Settings that affect the speed of the U-Net: device, precision, compilation, attention, batch size.

Speed is measured on the plain U-Net, before torch.compile, because a compiled U-Net silently keeps the
attention kernel that it was traced with, and compiling takes minutes for each batch size.
"""

from __future__ import annotations

import logging
import math
import resource
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latentpath.config.choices import ACCELERATORS
from latentpath.diffusion.conditioning import Conditioning
from latentpath.errors import UserError
from latentpath.runs.files import Json
from latentpath.runs.preflight import check_accelerator

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet

log = logging.getLogger(__name__)

ATTENTION_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
REPEATS = 4  # runs per measurement after one warm-up; the shortest counts, as other load only adds time
# FLOP from which compiling pays: an estimate for an H100, which takes 10 minutes for them uncompiled and 8
# compiled, after 2 minutes of compiling.
LONG_WORK = 2e17
PATIENCE = 5.0  # seconds; a batch size that is expected to take longer is not tried


def device_of(accelerator: str, local_rank: int = 0) -> torch.device:
    """The device of this process for Lightning's `trainer.accelerator`: auto, gpu, cuda, mps or cpu.

    `local_rank` is the index of the process on its host. Raises UserError if the device does not exist.
    """
    if accelerator not in ACCELERATORS:
        raise ValueError(f"accelerator {accelerator!r}: expected one of {', '.join(ACCELERATORS)}")
    check_accelerator(accelerator)
    if accelerator in ("cpu", "mps"):
        return torch.device(accelerator)
    if torch.cuda.is_available():
        # A cluster may show each process only its own GPU, as number 0.
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return torch.device("cpu")


def dtype_of(precision: str) -> torch.dtype:
    """Return the U-Net's dtype for Lightning's `trainer.precision`; mixed means half: nothing is trained."""
    dtypes = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
    kind, _, way = precision.partition("-")
    if kind not in dtypes or way not in ("true", "mixed"):
        raise ValueError(
            f"precision {precision!r}: expected 32-true, bf16-mixed, bf16-true, 16-mixed or 16-true"
        )
    return dtypes[kind]


def prepare(
    unet: UNet,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    channels_last: bool = False,
    compile: bool = False,
) -> UNet:
    """Prepare the U-Net for sampling: move it in place and turn off gradients.

    `compile` wraps the whole U-Net. The returned module then runs like the U-Net, shares its weights, and has
    its `device`, `dtype` and `config`; `unet` itself stays uncompiled. Compilation happens at the first call
    and again for each new shape; torch gives up after eight shapes.
    """
    unet = unet.to(device).eval().requires_grad_(False)
    if unet.dtype != dtype:  # diffusers warns about every cast, even to the same dtype
        unet = unet.to(dtype)
    if channels_last:
        unet = unet.to(memory_format=torch.channels_last)
    return cast("UNet", torch.compile(unet, fullgraph=True, dynamic=False)) if compile else unet


def should_compile(wanted: bool | None, device: torch.device | str, flop: Callable[[], float]) -> bool:
    """Return `wanted` or, if it is None, whether compiling pays: on a GPU, for LONG_WORK or more."""
    if wanted is not None or torch.device(device).type != "cuda":
        return bool(wanted)
    long = flop() >= LONG_WORK
    log.info("the U-Net is %s", "compiled: the work is long" if long else "not compiled: the work is short")
    return long


def attention_kernel(name: str | None) -> AbstractContextManager[object]:
    """Run attention with the kernel `name` of ATTENTION_BACKENDS within the block; None: PyTorch chooses."""
    return nullcontext() if name is None else sdpa_kernel(ATTENTION_BACKENDS[name])


def fastest_attention(run: Callable[[], object], *, device: torch.device | str) -> str:
    """Return the key of ATTENTION_BACKENDS with which `run`, a call of the plain U-Net, is fastest.

    A kernel that fails (because of dtype, head size or memory) is skipped; if all fail, the error is raised.
    """
    seconds: dict[str, float] = {}
    failure: Exception | None = None
    for name in ATTENTION_BACKENDS:
        try:
            # With all other kernels off, torch warns of every reason why a kernel cannot be used.
            with attention_kernel(name), warnings.catch_warnings(action="ignore"):
                seconds[name] = _seconds(run, device)
        except RuntimeError as error:
            failure = error.with_traceback(None)  # the traceback would keep tensors alive
    if not seconds and failure is not None:
        raise failure
    return min(seconds, key=seconds.__getitem__)


def largest_batch(
    run: Callable[[int], object],
    *,
    most: int,
    device: torch.device | str,
    steps: Sequence[int] | None = None,
) -> int:
    """Find the batch size for `sampler.batch_size=auto`: the largest that fits, within 5 % of the fastest.

    `run(n)` calls the plain U-Net on n rows. Sizes 1, 2, 4, ... and `most` are timed until memory runs out,
    two sizes in a row are more than 10 % slower than the fastest, or a run would take longer than PATIENCE.

    Speed is in rows per second. If the last batch of a step is padded to full size, pass in `steps` the
    number of rows of each step of the sweep, so that padding does not count: early steps have few rows, and
    large batches could double the time of a sweep. Raises UserError if not even one row fits.
    """
    on_cpu = torch.device(device).type == "cpu"
    sizes = [*(2**k for k in range(most.bit_length()) if 2**k < most), most]
    speeds: dict[int, float] = {}
    slower, full = 0, False
    for size, larger in zip(sizes, [*sizes[1:], math.inf], strict=True):
        resting = _resident()
        seconds = _seconds_if_it_fits(partial(run, size), device)
        if seconds is None:
            full = True
            break
        useful = 1.0 if steps is None else sum(steps) / sum(math.ceil(n / size) * size for n in steps)
        speeds[size] = useful * size / seconds
        slower = slower + 1 if speeds[size] < 0.9 * max(speeds.values()) else 0
        if size == most or slower == 2 or seconds * larger / size > PATIENCE:
            break
        # A GPU raises an error, but on a CPU the system kills the process, so predict the next size's memory.
        full = on_cpu and (peak_memory(device) - resting) * larger / size > _available()
        if full:
            break
    if not speeds:
        raise UserError(
            f"not even one row fits into the memory of {device}. Try `precision=bf16-true` or smaller images."
        )
    batch_size = max(size for size, speed in speeds.items() if speed >= max(speeds.values()) / 1.05)
    measured = ", ".join(f"{size}: {speed:.3g}" for size, speed in speeds.items())
    log.info(
        "batch size: %d (rows/s by size: %s%s)", batch_size, measured, "; more do not fit" if full else ""
    )
    return batch_size


def unet_flops(unet_config: Json, latent_shape: Sequence[int], context_shape: Sequence[int]) -> int:
    """Return the FLOP of one row's forward pass (a multiply-add is 2): products, convolutions, attention.

    latent_shape: (c, h, w). context_shape: (length, dim). Runs on the meta device, without weights or memory.
    """
    from diffusers import UNet2DConditionModel

    config = dict(unet_config)
    # The math kernel uses matrix products; other kernels may lack a formula on the meta device.
    with torch.device("meta"), attention_kernel("math"), FlopCounterMode(display=False) as counter:
        unet: Any = UNet2DConditionModel.from_config(config)  # Any: annotated as one of two things
        conditioning = Conditioning(torch.empty(1, *context_shape))
        if config.get("addition_embed_type") == "text_time":  # SDXL: a pooled embedding and six numbers
            width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
            conditioning = replace(conditioning, pooled=torch.empty(1, width))
        unet(torch.empty(1, *latent_shape), torch.zeros(1), **conditioning.unet_arguments())
    return counter.get_total_flops()


def peak_memory(device: torch.device | str) -> int:
    """Return the peak memory so far in bytes: torch's on a GPU, else that of this process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether the error of torch, cuBLAS or cuDNN means that memory has run out.

    torch has an error class only for its own allocator; errors of the CPU and of libraries are recognised by
    their text.
    """
    signs = (
        "out of memory",
        "can't allocate memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "unable to find an engine",  # cuDNN, if no workspace is left
        "DefaultCPUAllocator",
    )
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(sign.lower() in text for sign in signs)


def _seconds(run: Callable[[], object], device: torch.device | str) -> float:
    times = []
    for _ in range(1 + REPEATS):
        began = perf_counter()
        run()
        if torch.device(device).type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(perf_counter() - began)
    return min(times[1:])


def _seconds_if_it_fits(run: Callable[[], object], device: torch.device | str) -> float | None:
    try:
        return _seconds(run, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler, because its traceback keeps the tensors of the failed run alive.
    if torch.device(device).type != "cpu":
        torch.accelerator.empty_cache()
    return None


def _available() -> float:
    """Return the bytes available without swapping, from Linux; limits of a cluster job are not included."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), math.inf)


def _resident() -> int:
    """Return the bytes that this process holds now, or 0 if the system does not report them."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0
