"""From latents to scores, a row an image, and from scores to the figures of the tables."""
