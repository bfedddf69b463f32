"""Images and their labels: tables, splits, captions, pixels, cached latents, phantoms."""
