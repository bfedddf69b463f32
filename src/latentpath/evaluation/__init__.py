"""Turns latents into scores, one row per image, and scores into the figures of the tables."""
