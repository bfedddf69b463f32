"""Latent traversal of fine-tuned diffusion models, and whether anything else changed."""

__version__ = "0.1.0"
