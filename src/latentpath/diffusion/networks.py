"""The networks of diffusers, as types.

Diffusers' own annotations of `to`, `encode` and `decode` contradict what these methods do, so the classes
here state them for a type checker. At run time they are diffusers' classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import AutoencoderKL, UNet2DConditionModel

if TYPE_CHECKING:
    from typing import Self

    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from torch import Tensor

    class Settings(dict[str, Any]):  # Any: settings have many types
        def __getattr__(self, name: str) -> Any: ...  # Any: likewise

    class Encoded:
        latent_dist: DiagonalGaussianDistribution

    class Decoded:
        sample: Tensor

    class UNet(UNet2DConditionModel):
        """Predicts noise or velocity from latents (n, c, h, w), timesteps (n,) and a conditioning."""

        config: Settings  # pyright: ignore[reportIncompatibleMethodOverride]

        def __call__(self, *args: object, **options: object) -> tuple[Tensor, ...]: ...
        def to(self, *args: object, **options: object) -> Self: ...  # pyright: ignore
        def cpu(self) -> Self: ...

    class Autoencoder(AutoencoderKL):
        """Encodes images (n, 3, H, W) in [-1, 1] as latents (n, c, h, w), and decodes these."""

        config: Settings  # pyright: ignore[reportIncompatibleMethodOverride]

        def to(self, *args: object, **options: object) -> Self: ...  # pyright: ignore
        def cpu(self) -> Self: ...
        def encode(self, x: Tensor) -> Encoded: ...  # pyright: ignore
        def decode(self, z: Tensor) -> Decoded: ...  # pyright: ignore
else:
    UNet, Autoencoder = UNet2DConditionModel, AutoencoderKL
