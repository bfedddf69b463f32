"""Phantoms: procedurally drawn images with ground truth, in place of hospital data."""

from .chest import FINDINGS, Chest, draw_chest
from .dermoscopy import ATTRIBUTES, DIAGNOSES, Dermoscopy, draw_dermoscopy
from .write import EXAMPLES, write_chexpert, write_isic2019

__all__ = [
    "ATTRIBUTES",
    "DIAGNOSES",
    "EXAMPLES",
    "FINDINGS",
    "Chest",
    "Dermoscopy",
    "draw_chest",
    "draw_dermoscopy",
    "write_chexpert",
    "write_isic2019",
]
