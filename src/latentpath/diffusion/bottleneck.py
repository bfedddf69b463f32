"""Reads and shifts the output of a U-Net's mid-block, its h-space (Kwon et al. 2023), row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from latentpath.errors import UserError

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet


@contextmanager
def reading(unet: UNet) -> Iterator[list[Tensor]]:
    """Collect the mid-block's output h (rows, c', h', w'), in fp32, of each call of `unet` in the block."""
    seen: list[Tensor] = []

    def read(block: nn.Module, given: object, h: Tensor) -> None:
        seen.append(h.float())

    hook = _mid_block(unet).register_forward_hook(read)
    try:
        yield seen
    finally:
        hook.remove()


@contextmanager
def shifting(unet: UNet, shift: Tensor | None) -> Iterator[None]:
    """Add `shift` (rows, c', h', w') to the mid-block's output in each call of `unet` in the block."""
    if shift is None:
        yield
        return

    def shifted(block: nn.Module, given: object, h: Tensor) -> Tensor:
        return h + shift.to(h.dtype)

    hook = _mid_block(unet).register_forward_hook(shifted)
    try:
        yield
    finally:
        hook.remove()


def _mid_block(unet: UNet) -> nn.Module:
    block: Any = unet.mid_block  # Any: diffusers annotates no type
    if block is None:
        raise UserError(
            "method=hspace shifts the mid-block of the U-Net, but this U-Net has none. Leave out hspace."
        )
    return block
